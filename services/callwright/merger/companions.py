"""The files of a merged model besides its weights: configuration, tokenizer, chat template, licence and the like.

They come from the base, except for what an adapter brings of its own: a vocabulary with the tokens that it added,
settings of the tokenizer, a chat template. Where it brings one of these, the base's files of that kind are left out.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from callwright.dialects.foreign import special_tokens
from callwright.errors import InvalidInput
from callwright.merger.checkpoint import text_config
from callwright.merger.plan import TIE, MergePlan, Shard
from callwright.store.documents import read_object, read_value
from callwright.store.model_folder import is_left_out, is_taken

_VOCABULARY = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt",
    "*.tiktoken",
)  # fmt: skip
_BESIDE_VOCABULARY = ("merges.txt", "added_tokens.json")
_SETTINGS, _BESIDE_SETTINGS = ("tokenizer_config.json",), ("special_tokens_map.json",)
_TEMPLATE, _BESIDE_TEMPLATE = ("chat_template.jinja", "chat_template.json"), ("additional_chat_templates/*.jinja",)
_EMBEDDED = "chat_template"
"""The key of a tokenizer_config.json that may hold the template."""
_CODE = "auto_map"
_TAKEN = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "LICENSE*", "NOTICE*", *_BESIDE_TEMPLATE)
_LEFT = ("model.safetensors.index.json", "pytorch_model.bin.index.json", "config.json", "generation_config.json")


def companions(base_dir: Path, adapter_dir: Path, plan: MergePlan) -> dict[str, bytes | Path]:
    """Return the files beside the weights: by name, their bytes or the file to copy.

    Raises `InvalidInput` when the tokenizer has tokens that the embedding has no row for.
    """
    found: dict[str, bytes | Path] = {}
    found |= {name: path for name, path in _files(base_dir, _TAKEN).items() if name not in _LEFT}
    own_template = bool(_brought(adapter_dir, _TEMPLATE) or _embedded(adapter_dir))
    for kind, beside, own in (
        (_VOCABULARY, _BESIDE_VOCABULARY, bool(_brought(adapter_dir, _VOCABULARY))),
        (_SETTINGS, _BESIDE_SETTINGS, bool(_brought(adapter_dir, _SETTINGS))),
        (_TEMPLATE, _BESIDE_TEMPLATE, own_template),
    ):
        if own:
            found = {name: path for name, path in found.items() if name not in _files(base_dir, (*kind, *beside))}
        found |= _brought(adapter_dir, (*kind, *beside))
    config = _config(base_dir, plan)
    _refuse_tokens(found, text_config(config).get("vocab_size"))
    settings, template = found.get(*_SETTINGS), _embedded(adapter_dir if own_template else base_dir)
    if isinstance(settings, Path) and _embedded(settings.parent) != template:
        others = {key: value for key, value in read_object(settings).items() if key != _EMBEDDED}
        found[settings.name] = _dumped(_without_code(others) | ({_EMBEDDED: template} if template else {}))
    for name, file in found.items():  # of processors, the tokenizer and the like
        if isinstance(file, Path) and name.endswith("config.json"):
            own = read_value(file.read_bytes(), str(file))
            if (without := _without_code(own)) != own:
                found[name] = _dumped(without)
    found["config.json"] = _dumped(config)
    if (base_dir / "generation_config.json").is_file():
        found["generation_config.json"] = _dumped(_for_inference(read_object(base_dir / "generation_config.json")))
    if len(plan.shards) > 1:
        found["model.safetensors.index.json"] = index(plan.shards)
    return dict(sorted(found.items()))


def listed_special_tokens(files: Mapping[str, bytes | Path]) -> tuple[str, ...] | None:
    """Return the special tokens of the tokenizer among the files of a model; None without a tokenizer.json."""
    if "tokenizer.json" not in files:
        return None
    added: list[Mapping[str, Any]] = []
    for name in ("tokenizer.json", *_SETTINGS):
        file = files.get(name, b"{}")
        held = read_object(file, name)
        added += [*(held.get("added_tokens") or ()), *(held.get("added_tokens_decoder") or {}).values()]
    for name in (*_SETTINGS, *_BESIDE_SETTINGS):
        added += _named_tokens(read_object(files.get(name, b"{}"), name))
    return special_tokens(added)


def _named_tokens(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the tokens that a tokenizer's settings name, such as `eos_token`: a loader makes special ones of them."""
    for key, value in settings.items():
        if key.endswith("_token") and not key.startswith("add_"):
            named: Iterable[Any] = (value,)
        elif key in ("additional_special_tokens", "extra_special_tokens"):
            named = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        else:
            continue
        for token in named:
            content = token.get("content") if isinstance(token, dict) else token
            if isinstance(content, str) and content:
                yield {"content": content, "special": True}


def _files(folder: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder that match, by their path in it."""
    paths = (path for pattern in patterns for path in folder.glob(pattern) if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path for name, path in named.items() if is_taken(name) and not is_left_out(path)}


def _brought(adapter_dir: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of an adapter that match and hold anything: a template that was never set is saved as an
    empty file.
    """
    return {name: path for name, path in _files(adapter_dir, patterns).items() if path.stat().st_size}


def _embedded(folder: Path) -> Any:
    """Return the chat template in a folder's tokenizer_config.json; None where there is none."""
    settings = folder / _SETTINGS[0]
    return (read_object(settings).get(_EMBEDDED) or None) if settings.is_file() else None


def index(shards: tuple[Shard, ...]) -> bytes:
    """Return the index that maps each tensor to its shard."""
    weight_map = {tensor.name: shard.file for shard in shards for tensor in shard.tensors}
    total = sum(shard.nbytes for shard in shards)
    return _dumped({"metadata": {"total_size": total}, "weight_map": weight_map})


def _config(base_dir: Path, plan: MergePlan) -> dict[str, Any]:
    config = _for_inference(read_object(base_dir / "config.json"))
    text: dict[str, Any] = config.get("text_config") or {}
    inner = {key: value for key, value in plan.config_changes.items() if key in text}
    if inner:
        config["text_config"] = {**text, **inner}
    # Of a model of several parts, the whole says whether its head is tied, and may by default.
    outer = {k: v for k, v in plan.config_changes.items() if k in config or k not in inner or k == TIE}
    return config | outer


def _for_inference(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that generates with a cache, which training with gradient checkpointing turns off."""
    made: dict[str, Any] = _without_code({key: True if key == "use_cache" else value for key, value in config.items()})
    return made


def _without_code(value: Any) -> Any:
    """Return a configuration without `auto_map`, at any depth: it names Python, which no version has."""
    if isinstance(value, dict):
        return {key: _without_code(inner) for key, inner in value.items() if key != _CODE}
    return [_without_code(inner) for inner in value] if isinstance(value, list) else value


def _refuse_tokens(files: Mapping[str, bytes | Path], rows: int | None) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json"):
        path = files.get(name)
        if not isinstance(path, Path) or not isinstance(rows, int):
            continue
        try:
            beyond = [token for token, number in _added_tokens(path) if number >= rows]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidInput(f"merging: {path}: its added tokens are not readable: {error!r}; save it anew") from None
        if beyond:
            raise InvalidInput(
                f"merging: {path} has tokens beyond the embedding's {rows} rows: {', '.join(beyond[:5])}; "
                "resize the embedding in training and save it with the adapter"
            )


def _added_tokens(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the tokens that a tokenizer's file adds to its vocabulary, with their ids."""
    held = read_object(path)
    match path.name:
        case "tokenizer.json":
            yield from ((str(token["content"]), int(token["id"])) for token in held.get("added_tokens") or [])
        case "tokenizer_config.json":
            decoder = held.get("added_tokens_decoder") or {}
            yield from ((str(token["content"]), int(number)) for number, token in decoder.items())
        case _:
            yield from ((token, int(number)) for token, number in held.items())


def _dumped(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
