"""Bases whose file and flag disagree on a tied head: what transformers loads, and so trains, is what is merged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_merge import run_merge
from safetensors.torch import load_file, save_file
from test_merger_variants import assert_same_model
from tiny_adapters import make_adapter, make_base

from callwright.errors import InvalidInput, StageFailed
from callwright.merger import plan
from callwright.store import Manifest, Store

Merged = Callable[..., tuple[Manifest, Path]]
Change = Callable[[dict[str, torch.Tensor]], object]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def with_weights(base: Path, change: Change) -> Path:
    """The base, after `change` of the tensors of its only file."""
    tensors = load_file(base / "model.safetensors")
    change(tensors)
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    return base


def with_flag(base: Path, *, tied: bool | None) -> Path:
    """The base, whose config.json says `tied`, or nothing."""
    config = json.loads((base / "config.json").read_text())
    config["tie_word_embeddings"] = tied
    known = {key: value for key, value in config.items() if value is not None}
    (base / "config.json").write_text(json.dumps(known))
    return base


def head_of_its_own(tensors: dict[str, torch.Tensor]) -> None:
    tensors[HEAD] = tensors[EMBEDDING] + 0.3 * torch.randn_like(tensors[EMBEDDING])


def head_that_is_equal(tensors: dict[str, torch.Tensor]) -> None:
    tensors[HEAD] = tensors[EMBEDDING].clone()


def head_alone(tensors: dict[str, torch.Tensor]) -> None:
    tensors[HEAD] = tensors.pop(EMBEDDING)


def said_tied(folder: Path) -> bool | None:
    said: bool | None = json.loads((folder / "config.json").read_text()).get("tie_word_embeddings")
    return said


def merged_like_transformers(base: Path, adapter: Path, merged: Merged, *, dtype: str = "float32") -> Path:
    manifest, folder = merged(base, adapter)
    assert manifest.verification is not None
    assert manifest.verification.max_difference <= manifest.verification.tolerance
    assert_same_model(base, adapter, folder, grown=None, dtype=dtype)
    return folder


@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"target_modules": ["lm_head", "q_proj"]},
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"target_modules": ["embed_tokens", "lm_head"]},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
    ],
    ids=str,
)
def test_a_head_of_its_own_is_kept_where_the_base_says_tied(
    lora: dict[str, Any], tmp_path: Path, merged: Merged
) -> None:
    base = with_weights(make_base(tmp_path / "base", tied=True), head_of_its_own)
    folder = merged_like_transformers(base, make_adapter(tmp_path / "adapter", base, **lora), merged)
    assert said_tied(folder) is False
    if not lora:
        assert torch.equal(load_file(folder / "model.safetensors")[HEAD], load_file(base / "model.safetensors")[HEAD])


def test_a_head_of_its_own_is_kept_from_any_shard_in_any_precision(tmp_path: Path, merged: Merged) -> None:
    base = with_weights(make_base(tmp_path / "base", tied=True, dtype="bfloat16"), head_of_its_own)
    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    names = {
        name: "model-00002-of-00002.safetensors" if name == HEAD else "model-00001-of-00002.safetensors"
        for name in tensors
    }
    for file in set(names.values()):
        save_file(
            {name: tensors[name] for name in names if names[name] == file}, base / file, metadata={"format": "pt"}
        )
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    folder = merged_like_transformers(base, make_adapter(tmp_path / "adapter", base), merged, dtype="bfloat16")
    assert said_tied(folder) is False


def test_a_head_of_another_precision_is_a_head_of_its_own(tmp_path: Path, merged: Merged) -> None:
    base = with_weights(make_base(tmp_path / "base", tied=True), lambda t: t.update({HEAD: t[EMBEDDING].bfloat16()}))
    folder = merged_like_transformers(base, make_adapter(tmp_path / "adapter", base), merged)
    assert load_file(folder / "model.safetensors")[HEAD].dtype == torch.bfloat16


def test_a_head_that_the_base_says_nothing_of_is_kept_and_said(tmp_path: Path, merged: Merged) -> None:
    base = with_flag(with_weights(make_base(tmp_path / "base"), head_of_its_own), tied=None)
    assert said_tied(merged_like_transformers(base, make_adapter(tmp_path / "adapter", base), merged)) is False


@pytest.mark.parametrize(
    "lora", [{}, {"modules_to_save": ["embed_tokens"]}, {"target_modules": ["embed_tokens"]}], ids=str
)
def test_a_head_that_is_the_embedding_again_is_dropped_unless_they_part(
    lora: dict[str, Any], tmp_path: Path, merged: Merged
) -> None:
    base = with_weights(make_base(tmp_path / "base", tied=True), head_that_is_equal)
    folder = merged_like_transformers(base, make_adapter(tmp_path / "adapter", base, **lora), merged)
    assert (HEAD in load_file(folder / "model.safetensors")) is bool(lora)
    assert said_tied(folder) is not bool(lora)


@pytest.mark.parametrize("lora", [{}, {"target_modules": ["embed_tokens"]}, {"target_modules": ["lm_head"]}], ids=str)
def test_a_shared_weight_under_the_heads_name_becomes_the_embedding(
    lora: dict[str, Any], tmp_path: Path, merged: Merged
) -> None:
    base = with_weights(make_base(tmp_path / "base", tied=True), head_alone)
    folder = merged_like_transformers(base, make_adapter(tmp_path / "adapter", base, **lora), merged)
    assert EMBEDDING in load_file(folder / "model.safetensors")
    assert (HEAD in load_file(folder / "model.safetensors")) is bool(lora)


def test_a_shared_weight_under_the_heads_name_of_gpt2(tmp_path: Path, merged: Merged) -> None:
    base = make_base(tmp_path / "base", family="gpt2", tied=True)
    with_weights(base, lambda tensors: tensors.update({HEAD: tensors.pop("transformer.wte.weight")}))
    adapter = make_adapter(tmp_path / "adapter", base, target_modules=["c_attn"])
    folder = merged_like_transformers(base, adapter, merged)
    assert "transformer.wte.weight" in load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("tied", "change", "words"),
    [
        (True, lambda t: t.pop(EMBEDDING), "has no weight with a row for each token; expected an embedding"),
        (None, lambda t: t.pop(EMBEDDING), "has no weight with a row for each token; expected an embedding"),
        (False, lambda t: None, f"has {EMBEDDING} with a row for each token; expected embedding and head"),
        (False, head_alone, f"has {HEAD} with a row for each token; expected embedding and head"),
        (True, lambda t: t.update({HEAD: torch.zeros(100, 32)}), r"lm_head.weight \[100, 32\].* expected as many rows"),
    ],
)
def test_a_base_that_lacks_a_weight_is_refused(
    tied: bool | None, change: Change, words: str, tmp_path: Path, store: Store
) -> None:
    base = make_base(tmp_path / "base", tied=True)
    adapter = make_adapter(tmp_path / "adapter", base)
    with_flag(with_weights(base, change), tied=tied)
    with pytest.raises(InvalidInput, match=words):
        run_merge(store, base, adapter)
    assert store.list() == []


def test_a_head_that_only_the_adapter_has_is_the_models(tmp_path: Path, merged: Merged) -> None:
    base = make_base(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base, modules_to_save=["lm_head"])
    with_weights(base, lambda tensors: tensors.pop(HEAD))
    merged_like_transformers(base, adapter, merged)


def test_a_merge_that_drops_the_head_is_not_published(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = with_weights(make_base(tmp_path / "base", tied=True), head_of_its_own)
    adapter = make_adapter(tmp_path / "adapter", base)
    monkeypatch.setattr(plan, "same_bytes", lambda *_: True)
    with pytest.raises(StageFailed, match=r"logits differ from base \+ adapter"):
        run_merge(store, base, adapter)


def test_a_base_whose_weights_transformers_would_make_up_is_not_published(tmp_path: Path, store: Store) -> None:
    base = make_base(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base, target_modules=["q_proj"])
    with_flag(with_weights(base, lambda tensors: tensors.pop(HEAD)), tied=None)
    with pytest.raises(InvalidInput, match=r"verifying the merge: .*/base lacks lm_head\.weight"):
        run_merge(store, base, adapter)


def test_a_model_of_several_parts_says_untied_as_a_whole(tmp_path: Path) -> None:
    from callwright.merger.companions import _config
    from callwright.merger.plan import MergePlan

    config = {"text_config": {"tie_word_embeddings": True, "vocab_size": 96}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = _config(tmp_path, MergePlan(shards=(), config_changes={"tie_word_embeddings": False, "vocab_size": 97}))
    assert made == {"text_config": {"tie_word_embeddings": False, "vocab_size": 97}, "tie_word_embeddings": False}
