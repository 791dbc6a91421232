"""LoRA on a linear layer as one autograd step: PEFT's module, names and files, without the cost of its forward pass.

PEFT takes the activations to float32, multiplies there, and draws a random number per element and layer for dropout.
Here the float32 master weights are taken to the activations' dtype, products accumulate into the base's output in
place, and dropout masks are slices of bits drawn once a step. Whatever is not plain LoRA on a plain linear layer (DoRA,
quantized or merged weights, a dtype of its own) is left to PEFT.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LEVELS = 1 << 15
"""Dropout's probability is a multiple of 1 / _LEVELS."""


class DropoutBits:
    """Random keep factors for the dropout of a whole model: drawn once a step, cut from another place for each use.

    Every element is kept with probability 1 - p, independently of all others in its mask. Where a mask begins follows
    from torch's CPU generator, so that a checkpointed layer that runs again finds its own one.
    """

    def __init__(self, p: float) -> None:
        self.p = p
        self._bits = torch.empty(0)

    def draw(self, count: int, *, dtype: torch.dtype, device: torch.device) -> None:
        """Draw factors for masks of up to `count` elements: 0 or 1 / (1 - p). Call between steps only."""
        size = count + count // 4 + 65536
        generator = torch.Generator(device).manual_seed(int(torch.randint(1 << 62, ())))
        random = torch.randint(_LEVELS, (size,), dtype=torch.int16, generator=generator, device=device)
        self._bits = (random >= round(self.p * _LEVELS)).to(dtype).mul_(1 / (1 - self.p))

    def mask(self, shape: torch.Size) -> Tensor:
        """Return a mask of `shape`, a view of the factors that were drawn."""
        count = shape.numel()
        first = int(torch.randint(self._bits.numel() - count + 1, ()))
        return self._bits[first : first + count].view(shape)


class FusedLinear(PeftLinear):  # type: ignore[misc]
    """PEFT's LoRA layer with a forward pass of its own; made by `fuse`, never constructed."""

    bits: DropoutBits | None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(…, in) to (…, out): the base's output plus scale · B · A · dropout(x)."""
        if args or kwargs or self.disable_adapters or self.merged or x.dtype != self.base_layer.weight.dtype:
            plain: Tensor = super().forward(x, *args, **kwargs)
            return plain
        (name,) = self.active_adapters
        mask = self.bits.mask(x.shape) if self.training and self.bits is not None else None
        base, scale = self.base_layer, self.scaling[name]
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        made: Tensor = _LoraLinear.apply(
            x,  # type: ignore[no-untyped-call]
            base.weight,
            base.bias,
            a,
            b,
            scale,
            mask,
        )
        return made


def fuse(model: nn.Module, dropout: float) -> DropoutBits | None:
    """Give every plain LoRA layer of `model` the fused forward pass; returns the bits to draw, None without dropout."""
    bits = DropoutBits(dropout) if dropout else None
    for module in model.modules():
        if type(module) is PeftLinear and type(module.base_layer) is nn.Linear and not module.lora_variant:
            module.__class__ = FusedLinear
            module.bits = bits  # type: ignore[assignment]
    return bits


class _LoraLinear(torch.autograd.Function):
    """x · Wᵀ + bias + scale · (mask · x) · Aᵀ · Bᵀ, where W and bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        mask: Tensor | None,
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        a, scaled_b = a.to(x.dtype), (b * scale).to(x.dtype)
        low = _dropped(flat, mask) @ a.t()
        out = nn.functional.linear(flat, weight, bias).addmm_(low, scaled_b.t())
        ctx.save_for_backward(x, weight, a, scaled_b, low, mask)
        ctx.scale = scale
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, scaled_b, low, mask = ctx.saved_tensors
        flat, grad = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
        grad_low = grad @ scaled_b
        grad_b = (grad.t() @ low).float() * ctx.scale
        grad_a = (grad_low.t() @ _dropped(flat, mask)).float()
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight
            if mask is None:
                grad_x.addmm_(grad_low, a)
            else:
                grad_x.addcmul_(grad_low @ a, mask.view_as(flat))
            grad_x = grad_x.view_as(x)
        return grad_x, None, None, grad_a, grad_b, None, None


def _dropped(flat: Tensor, mask: Tensor | None) -> Tensor:
    return flat if mask is None else flat * mask.view_as(flat)
