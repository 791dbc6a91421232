"""Which of a base's modules are adapted: the spec's words to PEFT's, checked against the modules that there are.

Works on a model without weights too. Knows no data and no training.
"""

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn
from transformers.pytorch_utils import Conv1D

from callwright.errors import InvalidInput

_ADAPTABLE = (nn.Linear, nn.Embedding, Conv1D)


def target_modules(model: Any, targets: Literal["all-linear", "all"] | Sequence[str], *, base: str) -> str | list[str]:
    """`lora.targets` as PEFT's `target_modules`. Raises `InvalidInput` for names that the model does not have."""
    match targets:
        case "all-linear":
            return "all-linear"
        case "all":
            embedding = model.get_input_embeddings()
            return sorted(_linear_names(model) | {_last(n) for n, m in model.named_modules() if m is embedding})
        case _:
            check_names(model, targets, base=base, key="lora.targets")
            return list(targets)


def check_names(model: Any, names: Sequence[str], *, base: str, key: str) -> None:
    """Raise `InvalidInput` unless each of `names` is a module of `model` or the end of one's name."""
    modules = {name: module for name, module in model.named_modules() if isinstance(module, _ADAPTABLE)}
    unknown = [name for name in names if not any(_matches(each, name) for each in modules)]
    if unknown:
        raise InvalidInput(
            f"adapting {base}: {key} names {', '.join(unknown)}, which it does not have; "
            f"expected some of {', '.join(sorted({_last(name) for name in modules}))}"
        )


def adapted_modules(model: Any, targets: str | Sequence[str]) -> dict[str, nn.Module]:
    """Return the modules that `target_modules`' answer chooses, by name."""
    names = _linear_names(model) if isinstance(targets, str) else targets
    head = model.get_output_embeddings() if isinstance(targets, str) else None
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _ADAPTABLE) and module is not head and any(_matches(name, each) for each in names)
    }


def sizes(module: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of an adaptable module."""
    match module:
        case nn.Embedding():
            return module.num_embeddings, module.embedding_dim
        case nn.Linear():
            return module.in_features, module.out_features
        case _:
            inputs, outputs = module.weight.shape  # type: ignore[misc]
            return int(inputs), int(outputs)


def _linear_names(model: Any) -> set[str]:
    head = model.get_output_embeddings()
    return {_last(name) for name, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head}


def _matches(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]
