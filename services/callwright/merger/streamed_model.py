"""Runs a model whose weights stay in their files: each layer reads its weight when it is called, a few rows at a time.

Memory does not grow with the model. Knows modules and the names of their parameters; not what is computed or why.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from callwright.merger.arithmetic import TORCH, rows
from callwright.merger.checkpoint import Read, TensorRef, same_bytes
from callwright.merger.plan import located

_CHUNK_ELEMENTS = 2 * 1024 * 1024


class UnmappedError(Exception):
    """The model has a parameter that its files do not have by that name: it is converted on loading."""


class Stream:
    """Lets a model without weights compute, reading each weight when it is needed."""

    def __init__(
        self,
        tensors: Mapping[str, TensorRef],
        read: Read,
        tied: Mapping[str, str],
        rounded: Mapping[str, TensorRef] | None = None,
    ) -> None:
        """`tied` has the parameters that the model says share another one's weight, by name.

        A weight computes as if it, with the LoRA that PEFT adds to it, were rounded to the dtype of the tensor of its
        name in `rounded`. What DoRA scales and what is added to anything but a linear layer stays exact.
        """
        self._tensors = tensors
        self._read = read
        self._tied = tied
        self._rounded = rounded or {}
        self._holders: dict[str, str | None] = {}
        self.used: set[str] = set()
        """Tensors that the model has a place for."""
        self.exact: set[str] = set()
        """Dtypes that what stays exact would have been rounded to."""

    def attach(self, model: nn.Module) -> None:
        """Let every module of `model` that lacks weights read them. Raises `UnmappedError`."""
        real = {plain(name): parameter.data for name, parameter in model.named_parameters() if not parameter.is_meta}
        if any("lora_" not in name for name in real):  # trained whole
            self.exact |= {ref.dtype for ref in self._rounded.values() if _is_low(ref)}
        # DoRA's forward pass looks at the weight itself; everything else asks its layer for the product.
        dora = {
            path: module for path, module in model.named_modules() if getattr(module, "lora_magnitude_vector", None)
        }
        for path, module in model.named_modules():
            lacking = [name for name, p in module.named_parameters(recurse=False) if p.is_meta]
            if not lacking or path.endswith("original_module"):
                continue
            values = {name: self._values(plain(f"{path}.{name}"), real) for name in lacking}
            if "weight" in values:
                layer = model.get_submodule(path.rpartition(".")[0])
                values["weight"] = self._rounded_to(values["weight"], module, layer, plain(f"{path}.weight"))
            above = dora.get(path.rpartition(".")[0])
            if above is not None or not _compute_by_rows(module, values):
                _load_around(above or module, module, values)

    def _values(self, name: str, real: Mapping[str, torch.Tensor]) -> "_Values":
        found = self._holder(name)
        if found is None:
            raise UnmappedError(name)
        self.used |= {found, located(name, self._tensors)}
        own = next((real[held] for held in real if self._holder(held) == found), None)
        if own is not None:  # the adapter's own embedding, which the head shares
            return _Values(tuple(own.shape), lambda first, end: own[first:end].float())
        ref = self._tensors[found]
        return _Values(ref.shape, lambda first, end: rows(ref, first, end, self._read).float())

    def _rounded_to(self, weight: "_Values", module: nn.Module, layer: nn.Module, name: str) -> "_Values":
        ref = self._rounded.get(located(name, self._rounded))
        if ref is None or not _is_low(ref):
            return weight
        made = _rounded(weight, module, layer, TORCH[ref.dtype])
        if made is None:
            self.exact.add(ref.dtype)
        return made or weight

    def _holder(self, name: str) -> str | None:
        """Return the tensor that gives a parameter its values when transformers loads the model; None where there is
        none.

        Parameters that share a weight get the one that is there. Where both are, they are two unless they are equal.
        """
        if name not in self._holders:
            source = self._tied.get(name, name)
            group = (source, *(target for target, its in self._tied.items() if its == source), name)
            there = [found for each in group if (found := located(each, self._tensors)) in self._tensors]
            own = located(name, self._tensors)
            shared = bool(there) and (own not in there or self._same(own, there[0]))
            self._holders[name] = there[0] if shared else own if there else None
        return self._holders[name]

    def _same(self, one: str, other: str) -> bool:
        return one == other or same_bytes(self._tensors[one], self._tensors[other], self._read)


@dataclass(frozen=True)
class _Values:
    """A parameter that gives any of its rows in float32."""

    shape: tuple[int, ...]
    rows: Callable[[int, int], torch.Tensor]
    """[end - first, …] rows `first` to `end`."""

    def whole(self) -> torch.Tensor:
        return self.rows(0, self.shape[0]).view(self.shape)

    def chunks(self) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yield the values a few rows at a time: first row, last row plus one, rows."""
        count, width = self.shape[0], math.prod(self.shape[1:])
        stride = max(1, _CHUNK_ELEMENTS // width)
        for first in range(0, count, stride):
            end = min(first + stride, count)
            yield first, end, self.rows(first, end)


def _is_low(ref: TensorRef) -> bool:
    """Return whether float32 has values that the tensor can't hold."""
    return ref.is_float and TORCH[ref.dtype].itemsize < torch.float32.itemsize


def _rounded(weight: _Values, module: nn.Module, above: nn.Module, dtype: torch.dtype) -> _Values | None:
    """Return the weight whose sum with what PEFT's layer `above` adds to it is one that `dtype` holds; None where that
    is no sum, or of no linear layer.
    """
    if getattr(above, "base_layer", None) is not module:
        return _Values(weight.shape, lambda first, end: weight.rows(first, end).to(dtype).float())
    lora: Any = above
    if type(module) is not nn.Linear or lora.lora_magnitude_vector:
        return None
    (name,) = lora.lora_A  # the one adapter
    a, b, scale = lora.lora_A[name].weight, lora.lora_B[name].weight, lora.scaling[name]

    def rows(first: int, end: int) -> torch.Tensor:
        added: torch.Tensor = scale * (b[first:end] @ a)
        return (weight.rows(first, end) + added).to(dtype).float() - added

    return _Values(weight.shape, rows)


def _compute_by_rows(module: nn.Module, values: Mapping[str, _Values]) -> bool:
    """Replace the forward pass of a module of a known kind; False for any other."""
    weight = values.get("weight")
    if weight is None:
        return False
    bias = values["bias"].whole() if "bias" in values else getattr(module, "bias", None)
    kind = type(module)
    forward: Callable[[torch.Tensor], torch.Tensor]
    if kind is nn.Linear:
        forward = partial(_linear, weight, bias)
    elif kind is nn.Embedding:
        forward = partial(_embedding, weight)
    elif kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils":
        forward = partial(_conv1d, weight, bias)
    else:
        return False
    module.forward = forward
    return True


def _linear(weight: _Values, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    out = x.new_empty((*x.shape[:-1], weight.shape[0]))
    for first, end, part in weight.chunks():
        out[..., first:end] = x @ part.t()
    return out if bias is None else out.add_(bias)


def _conv1d(weight: _Values, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    out = x.new_zeros((*x.shape[:-1], weight.shape[1]))
    for first, end, part in weight.chunks():
        out += x[..., first:end] @ part
    return out if bias is None else out.add_(bias)


def _embedding(weight: _Values, ids: torch.Tensor) -> torch.Tensor:
    found = {i: weight.rows(i, i + 1)[0] for i in set(ids.flatten().tolist())}
    return torch.stack([found[i] for i in ids.flatten().tolist()]).view(*ids.shape, -1)


def _load_around(at: nn.Module, module: nn.Module, values: Mapping[str, _Values]) -> None:
    """Load all weights of `module` while `at` computes, then remove them."""
    empty = {name: module._parameters[name] for name in values}

    def give(*_: object) -> None:
        for name, value in values.items():
            module._parameters[name] = nn.Parameter(value.whole(), requires_grad=False)

    def take(*_: object) -> None:
        module._parameters.update(empty)

    at.register_forward_pre_hook(give)
    at.register_forward_hook(take)


def plain(name: str) -> str:
    """Return a parameter's name without what PEFT puts around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")
