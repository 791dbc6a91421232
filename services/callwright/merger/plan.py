"""Plans a merge before anything is written: every output tensor, its sources and its shard.

A function of the headers of base and adapter, and of whether two weights that may be one are. An adapter that does not
fit its base is refused here, by name. Writes nothing.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from callwright.errors import InvalidInput
from callwright.merger.adapter import Adapter, LowRank
from callwright.merger.checkpoint import SIZES, Checkpoint, TensorRef, same_bytes, text_config

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""Our dtype names and those of safetensors."""
_HEADS = {"gpt_neox": "embed_out"}
"""Names of output heads that are not `lm_head`, by model type."""
_EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tokens_embed")
"""Names of embeddings; the first where nothing says which."""
_OWN_EMBEDDINGS = {"gpt2": "wte", "gpt_neox": "embed_in", "bloom": "word_embeddings", "falcon": "word_embeddings"}
"""Names of embeddings that are not `embed_tokens`, by model type."""
_LAYER = re.compile(r"(?P<parent>(?:[^.]+\.)*?)[^.]+\.\d+\.")
"""How the name of a tensor of a layer begins."""
TIE = "tie_word_embeddings"
"""The key of config.json that says whether embedding and head are one weight."""
_CONV1D_TYPES = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
"""Model types whose projections are stored [in, out]."""


_SHARED_BYTES = 64 * 1024**2
"""From how many bytes on what a merge takes from the base alone stands apart."""


@dataclass(frozen=True)
class OutputTensor:
    """One output tensor: its source, what is added to it, and how it is stored."""

    name: str
    dtype: str
    """Output dtype, as safetensors names it."""
    source: TensorRef
    """Where the values come from: the base, or the adapter when it holds them whole."""
    low_rank: LowRank | None = None
    transposed: bool = False
    """The weight is stored [in, out]: embeddings and Conv1D."""
    bias: LowRank | None = None
    """The LoRA whose bias of B is added to this tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output, which is the source's."""
        return self.source.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the output."""
        return self.source.nbytes // SIZES[self.source.dtype] * SIZES[self.dtype]

    @property
    def copies(self) -> bool:
        """Whether the output is the source's bytes as they are."""
        return self.low_rank is None and self.bias is None and self.dtype == self.source.dtype

    @property
    def does(self) -> str:
        """What happens to the tensor, in a word or two."""
        kind = "copy"
        if self.low_rank:
            kind = (
                f"{'dora' if self.low_rank.magnitude else 'lora'} r={self.low_rank.rank} scale={self.low_rank.scale:g}"
            )
        elif self.bias:
            kind = f"bias scale={self.bias.scale:g}"
        elif self.source.name != self.name:
            kind = f"from {self.source.name}"
        return kind if self.dtype == self.source.dtype else f"{kind}, {self.source.dtype} to {self.dtype}"


@dataclass(frozen=True)
class Shard:
    """One output file, with its tensors in the order in which they are written."""

    file: str
    tensors: tuple[OutputTensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors, header excluded."""
        return sum(tensor.nbytes for tensor in self.tensors)


@dataclass(frozen=True)
class MergePlan:
    """A whole merge."""

    shards: tuple[Shard, ...]
    config_changes: dict[str, Any]
    """Keys of config.json that the merged model sets differently."""

    @property
    def tensors(self) -> Iterator[OutputTensor]:
        """Every output tensor."""
        return (tensor for shard in self.shards for tensor in shard.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of all output tensors."""
        return sum(shard.nbytes for shard in self.shards)

    @property
    def digest(self) -> str:
        """sha256 over what decides the weights' files, their sources' values excepted."""
        return hashlib.sha256("\n".join(self.lines()).encode() + json.dumps(self.config_changes).encode()).hexdigest()

    def lines(self) -> Iterator[str]:
        """Yield the plan for a reader, one line per tensor."""
        for shard in self.shards:
            for tensor in shard.tensors:
                yield f"{shard.file}: {tensor.name} {tensor.dtype} {list(tensor.shape)}: {tensor.does}"


def plan_merge(base: Checkpoint, adapter: Adapter, *, dtype: str, shard_bytes: int, apart: bool = True) -> MergePlan:
    """Plan the merge of `adapter` into `base`; what it leaves as it is stands `apart`, where it is large.

    `dtype` is `base` (each tensor keeps its own), float32, bfloat16 or float16. Raises `InvalidInput`, with the names,
    for a base that is quantised and for an adapter that does not fit.
    """
    if dtype != "base" and dtype not in DTYPES:
        raise InvalidInput(f"merging: got dtype {dtype!r}; expected one of base, {', '.join(DTYPES)}")
    _refuse_quantised(base, adapter)
    head = _Head.of(base, adapter)
    base = _with_embedding(base, head)
    tensors, used = _base_tensors(base, adapter, head)
    tensors = _with_head(tensors, used, base, adapter, head)
    _refuse_unused(adapter, used, base)
    _refuse_uneven(tensors, head)
    changes = _config_changes(base, tensors, head, dtype)
    if dtype != "base":
        tensors = [replace(tensor, dtype=DTYPES[dtype]) if tensor.source.is_float else tensor for tensor in tensors]
    return MergePlan(shards=tuple(_sharded(tensors, base, shard_bytes, apart)), config_changes=changes)


@dataclass(frozen=True)
class _Head:
    """The output head's weight, and the embedding that it may be tied to."""

    name: str
    """Name of its weight."""
    embedding: str | None
    """Name of the embedding's weight; None where there is not exactly one."""
    tied: bool
    """Both are one weight, the embedding's."""

    @classmethod
    def of(cls, base: Checkpoint, adapter: Adapter) -> "_Head":
        """Return the head of a base as transformers loads it, which ties two weights of a file only where they are
        equal.

        Raises `InvalidInput` for a base that lacks a weight which neither tying nor the adapter gives it.
        """
        kind, flags, tensors = str(base.config.get("model_type")), _tie_flags(base.config), base.tensors
        name = _HEADS.get(kind, "lm_head") + ".weight"
        found = [tensor for tensor in tensors if tensor.endswith(tuple(f"{end}.weight" for end in _EMBEDDINGS))]
        embedding = found[0] if len(found) == 1 else None
        wide = [tensor for tensor in tensors if _of_vocabulary(tensors[tensor], base.config)]
        parted = flags == {False}
        if len(wide) < (2 if parted and name not in adapter.replaced else 1):
            raise InvalidInput(
                f"merging: {base.folder} has {', '.join(wide) or 'no weight'} with a row for each token; expected "
                f"{'embedding and head, not being tied' if parted else 'an embedding'}; fetch the base again"
            )
        if name not in tensors:
            return cls(name, embedding, tied=True in flags or len(wide) == 1)
        if wide == [name]:
            return cls(name, _embedding_name(base, kind), tied=True)
        tied = True in flags and embedding is not None and same_bytes(tensors[name], tensors[embedding])
        return cls(name, embedding, tied)


def _tie_flags(config: Mapping[str, Any]) -> set[bool]:
    """Return what a config.json says of `tie_word_embeddings`, on its own level and on that of its text model."""
    levels = (config, config.get("text_config"))
    return {bool(each[TIE]) for each in levels if isinstance(each, dict) and TIE in each}


def _of_vocabulary(tensor: TensorRef, config: Mapping[str, Any]) -> bool:
    """Return whether a tensor outside the layers has a row for each token."""
    rows = text_config(config).get("vocab_size")
    least = rows if isinstance(rows, int) else 0
    return len(tensor.shape) == 2 and tensor.shape[0] >= least and not _LAYER.match(tensor.name)


def _embedding_name(base: Checkpoint, kind: str) -> str:
    """Return the name of the embedding of a base whose file has it as its head only: it stands beside the layers."""
    parents = {match["parent"] for match in map(_LAYER.match, base.tensors) if match}
    if len(parents) != 1:
        raise InvalidInput(f"merging: {base.folder} has no embedding but its head; save it anew with transformers")
    return f"{parents.pop()}{_OWN_EMBEDDINGS.get(kind, _EMBEDDINGS[0])}.weight"


def _with_embedding(base: Checkpoint, head: _Head) -> Checkpoint:
    """Return the base with the shared weight under the embedding's name, where its file has it under the head's
    alone.
    """
    if not head.tied or head.embedding is None or head.embedding in base.tensors:
        return base
    named = {head.embedding if name == head.name else name: tensor for name, tensor in base.tensors.items()}
    return replace(base, tensors=named)


def _refuse_quantised(base: Checkpoint, adapter: Adapter) -> None:
    found = base.config.get("quantization_config")
    if found:
        method = found.get("quant_method", "unknown") if isinstance(found, dict) else found
        raise InvalidInput(
            f"merging: the base is quantised ({method}); give the base that it was made from, in full precision"
        )
    names = {f"{module}.weight" for module in adapter.low_rank}
    odd = [str(tensor) for name, tensor in base.tensors.items() if name in names and not tensor.is_float]
    if odd:
        raise InvalidInput(
            f"merging: {len(odd)} weights of the base are no floats: {', '.join(odd[:5])}; give one in full precision"
        )


def _base_tensors(base: Checkpoint, adapter: Adapter, head: _Head) -> tuple[list[OutputTensor], set[str]]:
    """Return the output of every tensor of the base except a tied head, and the adapter's names that were used."""
    by_tensor = {located(f"{module}.weight", base.tensors): module for module in adapter.low_rank}
    by_bias = {located(f"{m}.bias", base.tensors): m for m, low in adapter.low_rank.items() if low.bias}
    held = {located(name, base.tensors): name for name in adapter.replaced}
    squares = _squares_transposed(base, adapter)
    used: set[str] = set()
    tensors = []
    for name, source in base.tensors.items():
        if head.tied and name == head.name:
            continue
        tensor = OutputTensor(name=name, dtype=source.dtype, source=source)
        if name in held:
            tensor = replace(tensor, source=_fitting(source, adapter.replaced[held[name]], head))
            used.add(held[name])
        if name in by_tensor:
            module = by_tensor[name]
            tensor = _with_low_rank(tensor, module, adapter.low_rank[module], squares_transposed=squares)
            used.add(module)
        if name in by_bias:
            tensor = replace(tensor, bias=_fitting_bias(tensor, adapter.low_rank[by_bias[name]]))
            used.add(f"{by_bias[name]}.bias")
        tensors.append(tensor)
    return tensors, used


def _with_head(
    tensors: list[OutputTensor], used: set[str], base: Checkpoint, adapter: Adapter, head: _Head
) -> list[OutputTensor]:
    """Adds the head's own weight where base and adapter make it differ from the embedding that it was tied to."""
    if not head.tied or head.embedding is None:
        return tensors
    module = head.name.removesuffix(".weight")
    low, held = adapter.low_rank.get(module), adapter.replaced.get(head.name)
    embedding = next(tensor for tensor in tensors if tensor.name == head.embedding)
    shared = base.tensors[head.embedding]
    # A saved module is a copy of its own, beside the shared weight; anything else held whole is the shared weight.
    own = any(head.embedding.removesuffix(".weight").endswith(saved) for saved in adapter.saved_modules)
    if not own:
        shared = embedding.source
    used |= {name for name in (module, head.name) if name in adapter.low_rank or name in adapter.replaced}
    if low is None and embedding.low_rank is None:
        if held is None and not own:
            return tensors
        if held is not None and same_bytes(held, embedding.source):
            return tensors
    source = _fitting(shared, held, head) if held is not None else shared
    tensor = OutputTensor(name=head.name, dtype=base.tensors[head.embedding].dtype, source=source)
    if low is not None:
        tensor = _with_low_rank(tensor, module, low, squares_transposed=False)
    return [*tensors, tensor]


def _refuse_uneven(tensors: list[OutputTensor], head: _Head) -> None:
    both = [tensor for tensor in tensors if tensor.name in (head.name, head.embedding)]
    if len({tensor.shape for tensor in both}) > 1:
        raise InvalidInput(
            f"merging: {' would stand beside '.join(f'{each.name} {list(each.shape)}' for each in both)}; expected as "
            "many rows; save both with the adapter when tokens are added"
        )


def _squares_transposed(base: Checkpoint, adapter: Adapter) -> bool:
    """Return whether square weights are stored [in, out], by the other shapes, else by type and adapter."""
    said = set()
    for module, low in adapter.low_rank.items():
        tensor = base.tensors.get(located(f"{module}.weight", base.tensors))
        if tensor is not None and not low.embedding and low.b.shape[0] != low.a.shape[1]:
            said.add(tensor.shape == (low.a.shape[1], low.b.shape[0]))
    return said.pop() if len(said) == 1 else base.config.get("model_type") in _CONV1D_TYPES or adapter.fan_in_fan_out


def _with_low_rank(tensor: OutputTensor, module: str, low: LowRank, *, squares_transposed: bool) -> OutputTensor:
    straight, across = (low.b.shape[0], low.a.shape[1]), (low.a.shape[1], low.b.shape[0])
    transposed = low.embedding or (squares_transposed if straight == across else tensor.shape == across)
    expected = across if transposed else straight
    if tensor.shape != expected:
        raise InvalidInput(
            f"merging: {module} does not fit: the adapter makes {list(expected)}, the base has {list(tensor.shape)}; "
            "give the base that the adapter was trained on"
        )
    for part in (low.magnitude, low.bias):
        if part is not None and part.shape != (low.b.shape[0],):
            raise InvalidInput(f"merging: {part} does not fit; expected [{low.b.shape[0]}]")
    return replace(tensor, low_rank=low, transposed=transposed)


def _fitting(tensor: TensorRef, held: TensorRef, head: _Head) -> TensorRef:
    """Return the adapter's own parameter in place of the base's; only the vocabulary may have another size."""
    grown = tensor.name in (head.embedding, head.name) and held.shape[1:] == tensor.shape[1:]
    if held.shape != tensor.shape and not grown:
        raise InvalidInput(f"merging: {held} does not fit; expected {list(tensor.shape)} as in the base")
    return held


def _fitting_bias(tensor: OutputTensor, low: LowRank) -> LowRank:
    if low.bias is None or low.bias.shape != tensor.shape:
        raise InvalidInput(f"merging: {low.bias} does not fit {tensor.name} {list(tensor.shape)}")
    return low


def _refuse_unused(adapter: Adapter, used: set[str], base: Checkpoint) -> None:
    wanted = [*adapter.low_rank, *(f"{m}.bias" for m, low in adapter.low_rank.items() if low.bias), *adapter.replaced]
    missing = [name for name in wanted if name not in used]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InvalidInput(
            f"merging: the adapter changes {', '.join(missing[:5])}{more}, which {base.folder} does not have; give the "
            "base that it was trained on"
        )


def located(name: str, tensors: Mapping[str, TensorRef]) -> str:
    """Return the checkpoint's name of a parameter: those of a bare backbone lack the first part of it, or have one
    more.
    """
    if name in tensors:
        return name
    _, _, shorter = name.partition(".")
    for candidate in (shorter, f"model.{name}", f"transformer.{name}"):
        if candidate in tensors:
            return candidate
    return name


def _config_changes(base: Checkpoint, tensors: list[OutputTensor], head: _Head, dtype: str) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if _tie_flags(base.config) != {False} and any(tensor.name == head.name for tensor in tensors):
        changes[TIE] = False  # engines drop the head of a model that says it is tied
    if dtype != "base":
        changes["torch_dtype" if "torch_dtype" in base.config else "dtype"] = dtype
    for tensor in tensors:
        before = base.tensors.get(tensor.name)
        if before is not None and before.shape != tensor.shape:
            changes["vocab_size"] = tensor.shape[0]
    return changes


def _sharded(tensors: Sequence[OutputTensor], base: Checkpoint, shard_bytes: int, apart: bool) -> Iterator[Shard]:
    """Shards of at most `shard_bytes`, a larger tensor alone; wider dtypes first, so that all are aligned.

    What comes of the base alone, such as embeddings, has shards of its own where it is large: those are equal in all
    versions of the base, and a node keeps them once.
    """
    files = {tensor.file for tensor in base.tensors.values()}
    kept: list[OutputTensor] = []
    made: list[OutputTensor] = []
    for tensor in tensors:
        alone = not tensor.low_rank and not tensor.bias and tensor.source.file in files
        (kept if alone else made).append(tensor)
    apart = apart and bool(made) and sum(tensor.nbytes for tensor in kept) >= _SHARED_BYTES
    groups = [*_filled(kept, shard_bytes), *_filled(made, shard_bytes)] if apart else _filled(tensors, shard_bytes)
    for number, group in enumerate(groups, 1):
        name = "model.safetensors" if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        yield Shard(file=name, tensors=tuple(sorted(group, key=lambda tensor: -SIZES[tensor.dtype])))


def _filled(tensors: Sequence[OutputTensor], shard_bytes: int) -> list[list[OutputTensor]]:
    groups: list[list[OutputTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if groups[-1] and size + tensor.nbytes > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.nbytes
    return groups
