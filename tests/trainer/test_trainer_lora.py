"""The fused LoRA layer is PEFT's in values and gradients, at any dtype, with and without dropout."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from callwright.trainer.lora import DropoutBits, FusedLinear, fuse


class Base(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.proj = nn.Linear(24, 40, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.proj(x)
        return made


def adapted(*, bias: bool = True, dtype: torch.dtype = torch.float32, dropout: float = 0.0, **lora: Any) -> Any:
    torch.manual_seed(0)
    base = Base(bias).to(dtype)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=12, lora_dropout=dropout, target_modules=["proj"], **lora))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def run(model: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """Output and gradients of input and adapter."""
    x = x.clone().requires_grad_()
    out = model(x)
    (out.float() * torch.linspace(-1, 1, out.shape[-1])).sum().backward()
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    model.zero_grad()
    return [out, x.grad, *grads]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(3, 7, 24), (5, 24)])
@pytest.mark.parametrize("rslora", [False, True])
def test_values_and_gradients_are_those_of_peft(bias: bool, shape: tuple[int, ...], rslora: bool) -> None:
    model, x = adapted(bias=bias, use_rslora=rslora), torch.randn(shape)
    expected = run(model, x)
    assert fuse(model, 0.0) is None
    assert any(isinstance(module, FusedLinear) for module in model.modules())
    for ours, theirs in zip(run(model, x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_no_further_from_the_truth_than_peft() -> None:
    model, x = adapted(dtype=torch.bfloat16), torch.randn(64, 24).bfloat16()
    truth = run(adapted().to(torch.float32), x.float())
    for module in (truth_model := adapted()).modules():
        if isinstance(module, nn.Linear):
            module.weight.data = module.weight.data.bfloat16().float()
    truth = run(truth_model, x.float())
    theirs = run(model, x)
    fuse(model, 0.0)
    assert all(p.dtype == torch.float32 for name, p in model.named_parameters() if "lora_" in name)
    for ours, peft, exact in zip(run(model, x), theirs, truth, strict=True):
        assert ours.dtype == peft.dtype
        error = (ours.float() - exact).norm() / exact.norm()
        assert error < max(2 * (peft.float() - exact).norm() / exact.norm(), 2**-7)


def test_dropout_takes_its_share_and_keeps_the_mean() -> None:
    model = adapted(dropout=0.25)
    layer = model.base_model.model.proj
    bits = fuse(model, 0.25)
    assert bits
    layer.base_layer.weight.data.zero_()
    layer.lora_A["default"].weight.data.copy_(torch.eye(24)[:4])
    layer.lora_B["default"].weight.data.copy_(torch.eye(40)[:, :4] / 3)  # scale is 3: the output is dropout(x)
    layer.base_layer.bias.data.zero_()
    x = torch.ones(4000, 24)
    torch.manual_seed(5)
    bits.draw(x.numel(), dtype=torch.float32, device=torch.device("cpu"))
    out = model(x)[:, :4].detach()
    kept = out > 0
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)
    both = (kept[:, 0] & kept[:, 1]).float().mean().item()
    assert both == pytest.approx(0.75**2, abs=0.03), "elements are dropped independently"
    assert not torch.equal(model(x)[:, :4], out), "another use takes another mask"
    model.eval()
    assert torch.equal(model(x)[:, :4], torch.ones(4000, 4))


def test_gradients_under_dropout_are_those_of_the_same_mask() -> None:
    model, x = adapted(dropout=0.5), torch.randn(30, 24)
    bits = fuse(model, 0.5)
    assert bits
    bits.draw(x.numel(), dtype=torch.float32, device=torch.device("cpu"))
    torch.manual_seed(3)
    out, grad_x, grad_a, grad_b = run(model, x)
    torch.manual_seed(3)
    mask = bits.mask(x.shape)
    layer = model.base_model.model.proj
    a, b = (side["default"].weight.detach().requires_grad_() for side in (layer.lora_A, layer.lora_B))
    x.requires_grad_()
    plain = layer.base_layer(x) + 3.0 * ((x * mask) @ a.t()) @ b.t()
    (plain * torch.linspace(-1, 1, 40)).sum().backward()
    for ours, expected in ((out, plain), (grad_x, x.grad), (grad_a, a.grad), (grad_b, b.grad)):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_masks_come_again_with_the_seed() -> None:
    bits = DropoutBits(0.3)
    bits.draw(600, dtype=torch.float32, device=torch.device("cpu"))
    torch.manual_seed(1)
    first, second = bits.mask(torch.Size((20, 30))), bits.mask(torch.Size((20, 30)))
    torch.manual_seed(1)
    assert torch.equal(bits.mask(torch.Size((20, 30))), first)
    assert not torch.equal(first, second)


def test_dora_is_left_to_peft() -> None:
    model, x = adapted(use_dora=True), torch.randn(3, 24)
    expected = run(model, x)
    fuse(model, 0.0)
    for ours, theirs in zip(run(model, x), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_files_are_those_of_peft(tmp_path: Path) -> None:
    model, x = adapted(), torch.randn(3, 24)
    fuse(model, 0.0)
    model.save_pretrained(tmp_path)
    torch.manual_seed(0)
    loaded = PeftModel.from_pretrained(Base(True), tmp_path)
    torch.testing.assert_close(loaded(x), model(x))
