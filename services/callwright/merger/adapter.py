"""A PEFT LoRA adapter by its configuration and header: what it adds to which module, and at what scale.

Knows PEFT's file layout and names, and refuses by name whatever a merge into plain weights cannot express. Knows no
base model: whether the adapter fits one is the plan's question. Reads no tensor data.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from callwright.errors import InvalidInput, NotFound
from callwright.merger.checkpoint import TensorRef, read_header
from callwright.store import AdapterConfig, FileEntry, check_folder

_PREFIX = "base_model.model."
_LORA = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|lora_embedding_B"
    r"|lora_magnitude_vector(\.weight)?)"
)
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "peft_version",
    "lora_dropout", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config",
    "qalora_group_size", "modules_to_tie", "target_modules_to_tie",
}  # fmt: skip
_CHANGES_BASE = re.compile(r"pissa.*|olora|corda|loftq|lora_ga|mica")


@dataclass(frozen=True)
class LowRank:
    """What LoRA adds to one module: scale · B·A, with DoRA's magnitudes and the bias of B if it has them."""

    a: TensorRef
    """[rank, in], or for an embedding [rank, rows]."""
    b: TensorRef
    """[out, rank], or for an embedding [width, rank]."""
    scale: float
    embedding: bool = False
    magnitude: TensorRef | None = None
    """[out]: DoRA's magnitudes."""
    bias: TensorRef | None = None
    """[out]: bias of B, added with the same scale."""

    @property
    def rank(self) -> int:
        """Rank of the product."""
        return self.a.shape[0]


@dataclass(frozen=True)
class Adapter:
    """What an adapter does to its base, by the base's own module and parameter names."""

    folder: Path
    digest: str
    """sha256 over its configuration and weights."""
    low_rank: dict[str, LowRank]
    """By module."""
    replaced: dict[str, TensorRef]
    """Parameters that it holds whole: `modules_to_save`, trained biases, resized embeddings."""
    saved_modules: tuple[str, ...]
    """`modules_to_save`, as the adapter names them."""
    fan_in_fan_out: bool
    """PEFT's own word on the layout, which holds for its last module only."""


def open_adapter(folder: Path) -> Adapter:
    """Read a PEFT adapter's configuration and header. Raises `NotFound` and `InvalidInput`."""
    if not folder.is_dir():
        raise NotFound(f"reading the adapter: no directory {folder}")
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file() and (folder / "adapter_model.bin").is_file():
        raise InvalidInput(f"reading the adapter: {folder} has adapter_model.bin; expected adapter_model.safetensors")
    config = AdapterConfig.read(check_folder(folder))
    _refuse_unknown(config)
    modules, replaced = _sorted_out(read_header(weights))
    low_rank = {module: _low_rank(module, parts, config) for module, parts in sorted(modules.items())}
    if not low_rank and not replaced:
        raise InvalidInput(f"reading the adapter: {weights} is empty; expected LoRA weights")
    return Adapter(
        folder=folder,
        digest=_digest(folder / "adapter_config.json", weights),
        low_rank=low_rank,
        replaced=replaced,
        saved_modules=tuple(config.modules_to_save or ()),
        fan_in_fan_out=bool(config.fan_in_fan_out),
    )


def _refuse_unknown(config: AdapterConfig) -> None:
    if config.peft_type != "LORA":
        raise InvalidInput(f"reading the adapter: got peft_type {config.peft_type!r}; expected 'LORA'")
    init = config.init_lora_weights
    if isinstance(init, str) and _CHANGES_BASE.fullmatch(init.lower()):
        raise InvalidInput(
            f"reading the adapter: init_lora_weights is {init!r}, which changes the base itself; save the adapter with "
            "path_initial_model_for_weight_conversion, which turns it into plain LoRA"
        )
    unknown = sorted(key for key, value in config.others.items() if key not in _HARMLESS and value)
    if unknown:
        raise InvalidInput(
            f"reading the adapter: it uses {', '.join(unknown)}, which cannot be merged into plain weights; expected "
            "LoRA on modules: linear, embedding, Conv1D, rsLoRA, DoRA, biases, modules_to_save"
        )


def _sorted_out(tensors: list[TensorRef]) -> tuple[dict[str, dict[str, TensorRef]], dict[str, TensorRef]]:
    """LoRA's parts by module, and parameters held whole by name."""
    modules: dict[str, dict[str, TensorRef]] = {}
    replaced: dict[str, TensorRef] = {}
    strange = []
    for tensor in tensors:
        name = tensor.name.removeprefix(_PREFIX)
        match = _LORA.fullmatch(name)
        if not tensor.is_float:
            strange.append(str(tensor))
        elif match:
            modules.setdefault(match["module"], {})[match["part"].removesuffix(".weight")] = tensor
        elif "lora_" in name or "token_adapter" in name or "trainable_tokens" in name:
            strange.append(tensor.name)
        elif "original_module." not in name:
            replaced[name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = tensor
    if strange:
        raise InvalidInput(f"reading the adapter: {len(strange)} tensors cannot be merged: {', '.join(strange[:5])}")
    return modules, replaced


def _low_rank(module: str, parts: dict[str, TensorRef], config: AdapterConfig) -> LowRank:
    embedding = "lora_embedding_A" in parts
    a, b = (parts.get(f"lora_{'embedding_' if embedding else ''}{side}") for side in "AB")
    if a is None or b is None:
        raise InvalidInput(
            f"reading the adapter: {module} has {', '.join(sorted(parts))}; expected both lora_A and lora_B"
        )
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1] or 0 in a.shape + b.shape:
        raise InvalidInput(
            f"reading the adapter: {module} has A {list(a.shape)} and B {list(b.shape)}; expected [r, in], [out, r]"
        )
    rank = config.rank(module)
    if rank != a.shape[0]:
        raise InvalidInput(f"reading the adapter: {module} has rank {a.shape[0]}; expected {rank} by its configuration")
    magnitude = parts.get("lora_magnitude_vector")
    if bool(config.use_dora) != (magnitude is not None):
        raise InvalidInput(f"reading the adapter: {module}: use_dora is {bool(config.use_dora)}; its weights disagree")
    scale = config.scale(module)
    return LowRank(a=a, b=b, scale=scale, embedding=embedding, magnitude=magnitude, bias=parts.get("lora_B.bias"))


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {FileEntry.of(path).sha256}\n".encode())
    return digest.hexdigest()
