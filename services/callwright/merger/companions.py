"""The files of a merged model besides its weights: configuration, tokenizer, chat template, licence and the like.

They come from the base, except for the tokenizer of an adapter that brings its own, with the tokens that it added.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callwright.errors import InvalidInput
from callwright.merger.checkpoint import read_json
from callwright.merger.plan import TIE, MergePlan, Shard

_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip
_TAKEN = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py", "LICENSE*", "NOTICE*")
_LEFT = ("model.safetensors.index.json", "pytorch_model.bin.index.json", "config.json", "generation_config.json")


def companions(base_dir: Path, adapter_dir: Path, plan: MergePlan) -> dict[str, bytes | Path]:
    """The files beside the weights: by name, their bytes or the file to copy.

    Raises `InvalidInput` when the tokenizer has tokens that the embedding has no row for.
    """
    found: dict[str, bytes | Path] = {}
    for pattern in _TAKEN:
        found |= {path.name: path for path in base_dir.glob(pattern) if path.is_file() and path.name not in _LEFT}
    if (adapter_dir / "tokenizer_config.json").is_file():
        found = {name: path for name, path in found.items() if name not in _TOKENIZER}
        found |= {name: adapter_dir / name for name in _TOKENIZER if (adapter_dir / name).is_file()}
    config = _config(base_dir, plan)
    _refuse_tokens(found.get("tokenizer.json"), config.get("vocab_size"))
    found["config.json"] = _dumped(config)
    if (base_dir / "generation_config.json").is_file():
        found["generation_config.json"] = _dumped(_for_inference(read_json(base_dir / "generation_config.json")))
    if len(plan.shards) > 1:
        found["model.safetensors.index.json"] = index(plan.shards)
    return dict(sorted(found.items()))


def index(shards: tuple[Shard, ...]) -> bytes:
    """The index that maps each tensor to its shard."""
    weight_map = {tensor.name: shard.file for shard in shards for tensor in shard.tensors}
    total = sum(shard.nbytes for shard in shards)
    return _dumped({"metadata": {"total_size": total}, "weight_map": weight_map})


def _config(base_dir: Path, plan: MergePlan) -> dict[str, Any]:
    config = _for_inference(read_json(base_dir / "config.json"))
    text: dict[str, Any] = config.get("text_config") or {}
    inner = {key: value for key, value in plan.config_changes.items() if key in text}
    if inner:
        config["text_config"] = {**text, **inner}
    # Of a model of several parts, the whole says whether its head is tied, and may by default.
    outer = {k: v for k, v in plan.config_changes.items() if k in config or k not in inner or k == TIE}
    return config | outer


def _for_inference(config: Mapping[str, Any]) -> dict[str, Any]:
    """Training with gradient checkpointing turns the cache off, and generation without it is very slow."""
    return {key: True if key == "use_cache" else value for key, value in config.items()}


def _refuse_tokens(tokenizer: bytes | Path | None, rows: int | None) -> None:
    if not isinstance(tokenizer, Path) or not isinstance(rows, int):
        return
    added = read_json(tokenizer).get("added_tokens") or []
    beyond = [str(token.get("content")) for token in added if int(token.get("id", 0)) >= rows]
    if beyond:
        raise InvalidInput(
            f"merging: {tokenizer} has tokens beyond the embedding's {rows} rows: {', '.join(beyond[:5])}; "
            "resize the embedding in training and save it with the adapter"
        )


def _dumped(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
