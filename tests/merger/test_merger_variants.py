"""Every kind of adapter: bit by bit what float32 arithmetic rounded once gives, and PEFT's own logits.

Where PEFT's merge of tied weights differs from its own forward pass (it adds an embedding's change to the head too),
the forward pass is what holds: it is what was trained.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from by_hand import merged_by_hand
from safetensors.torch import load_file
from tiny_adapters import Case, make_adapter, make_base, peft_merged, peft_model

from callwright.store import Manifest

Merged = Callable[..., tuple[Manifest, Path]]

PLAIN = [
    Case("linear"),
    Case("bfloat16", dtype="bfloat16"),
    Case("float16", dtype="float16"),
    Case("llama with biases", family="llama", dtype="bfloat16"),
    Case("rank-stabilised", lora={"use_rslora": True}),
    Case("a scale that is no power of two", dtype="bfloat16", lora={"lora_alpha": 6, "r": 5}),
    Case(
        "rank and alpha by pattern",
        lora={
            "rank_pattern": {"q_proj": 2, r"model\.layers\.1\.mlp\..*": 6},
            "alpha_pattern": {"layers.0.self_attn.k_proj": 5},
        },
    ),
    Case("Conv1D", family="gpt2", tied=True, lora={"target_modules": ["c_attn", "c_proj", "c_fc"]}),
    Case("square Conv1D alone", family="gpt2", tied=True, lora={"target_modules": ["attn.c_proj"]}),
    Case("head", lora={"target_modules": ["lm_head", "q_proj"]}),
    Case("experts beside it", family="qwen2_moe", lora={"target_modules": ["q_proj", "o_proj"]}),
]
OTHER = [
    Case("DoRA", lora={"use_dora": True}),
    Case("DoRA in bfloat16", dtype="bfloat16", lora={"use_dora": True}),
    Case("DoRA on Conv1D", family="gpt2", tied=True, lora={"target_modules": ["c_attn", "c_fc"], "use_dora": True}),
    Case("DoRA on an embedding", lora={"target_modules": ["embed_tokens", "q_proj"], "use_dora": True}),
    Case("embedding", lora={"target_modules": ["embed_tokens", "q_proj"]}),
    Case("saved head", lora={"modules_to_save": ["lm_head"]}),
    Case("saved head of tied weights", tied=True, lora={"modules_to_save": ["lm_head"]}),
    Case("saved embedding of tied weights", tied=True, lora={"modules_to_save": ["embed_tokens"]}),
    Case("saved norm", lora={"modules_to_save": ["norm"]}),
    Case("saved head, lower precision", dtype="bfloat16", lora={"modules_to_save": ["lm_head"]}),
    Case("all biases", lora={"bias": "all"}),
    Case("biases of adapted layers", lora={"bias": "lora_only", "target_modules": ["q_proj", "v_proj"]}),
    Case("bias of B", lora={"lora_bias": True, "target_modules": ["q_proj", "k_proj"]}),
    Case("added tokens", lora={"grown": 100}),
    Case("added tokens, tied", tied=True, lora={"grown": 100}),
    Case("added tokens, saved", lora={"grown": 100, "modules_to_save": ["embed_tokens", "lm_head"]}),
]
UNTIED = [
    Case("tied embedding", tied=True, lora={"target_modules": ["embed_tokens", "q_proj"]}),
    Case("tied head", tied=True, lora={"target_modules": ["lm_head", "q_proj"]}),
    Case("both of a tied pair", tied=True, lora={"target_modules": ["lm_head", "embed_tokens"]}),
    Case(
        "a pair kept tied", tied=True, lora={"target_modules": ["lm_head", "embed_tokens"], "ensure_weight_tying": True}
    ),
    Case("tied embedding of GPT-2", family="gpt2", tied=True, lora={"target_modules": ["wte", "c_attn"]}),
    Case("tied and grown", tied=True, lora={"grown": 100, "target_modules": ["embed_tokens", "q_proj"]}),
    Case("both of a tied pair saved", tied=True, lora={"modules_to_save": ["embed_tokens", "lm_head"]}),
]


def make(case: Case, folder: Path) -> tuple[Path, Path, int | None]:
    lora = dict(case.lora)
    grown = lora.pop("grown", None)
    base = make_base(folder / "base", family=case.family, tied=case.tied, dtype=case.dtype)
    return base, make_adapter(folder / "adapter", base, grown=grown, **lora), grown


def load(folder: Path):  # type: ignore[no-untyped-def]
    """The version as transformers loads it; anything missing or too much is an error."""
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model.float()(input_ids=torch.arange(48).view(2, 24)).logits
    return found


def assert_same_model(base: Path, adapter: Path, folder: Path, *, grown: int | None, dtype: str) -> None:
    reference = logits(peft_model(base, adapter, grown=grown))
    difference = (logits(load(folder)) - reference).abs().max() / reference.std()
    assert difference < {"float32": 1e-5, "float16": 5e-3, "bfloat16": 3e-2}[dtype]


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_plain_lora_is_exact(case: Case, tmp_path: Path, merged: Merged) -> None:
    base, adapter, _ = make(case, tmp_path)
    manifest, folder = merged(base, adapter)
    found, expected = load_file(folder / "model.safetensors"), merged_by_hand(base, adapter)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    if case.family != "qwen2_moe":  # which transformers keeps under other names
        theirs = peft_merged(base, adapter).state_dict()
        ours = load(folder).state_dict()
        assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert_same_model(base, adapter, folder, grown=None, dtype=case.dtype)
    assert manifest.verification is not None
    assert manifest.verification.max_difference <= manifest.verification.tolerance
    assert manifest.verification.top1_agreement > 0.9
    if case.family == "qwen2":
        assert manifest.verification.max_difference < 1e-4  # base + adapter is rounded alike


@pytest.mark.parametrize("case", OTHER, ids=str)
def test_other_kinds_are_what_peft_makes_of_them(case: Case, tmp_path: Path, merged: Merged) -> None:
    base, adapter, grown = make(case, tmp_path)
    _, folder = merged(base, adapter)
    theirs, ours = peft_merged(base, adapter, grown=grown).state_dict(), load(folder).state_dict()
    assert theirs.keys() == ours.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor.to(ours[name].dtype), rtol=1e-5, atol=1e-6, msg=name)
    assert_same_model(base, adapter, folder, grown=grown, dtype=case.dtype)


@pytest.mark.parametrize("case", UNTIED, ids=str)
def test_tied_weights_part_where_the_adapter_parts_them(case: Case, tmp_path: Path, merged: Merged) -> None:
    base, adapter, grown = make(case, tmp_path)
    manifest, folder = merged(base, adapter)
    model = load(folder)
    assert model.config.tie_word_embeddings is False
    assert "lm_head.weight" in load_file(folder / "model.safetensors")
    assert_same_model(base, adapter, folder, grown=grown, dtype=case.dtype)
    assert manifest.verification is not None


def test_tied_weights_stay_tied_where_nothing_parts_them(tmp_path: Path, merged: Merged) -> None:
    for case in (Case("linear", tied=True), Case("grown", tied=True, lora={"grown": 100})):
        base, adapter, _ = make(case, tmp_path / case.name)
        _, folder = merged(base, adapter, version=case.name)
        assert load(folder).config.tie_word_embeddings is True
        assert "lm_head.weight" not in load_file(folder / "model.safetensors")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_dtype_asked_for_is_rounded_to_once(dtype: str, tmp_path: Path, merged: Merged) -> None:
    base, adapter, _ = make(Case("linear"), tmp_path)
    _, folder = merged(base, adapter, dtype=dtype)
    for name, expected in merged_by_hand(base, adapter).items():
        assert torch.equal(load_file(folder / "model.safetensors")[name], expected.to(getattr(torch, dtype)))
    assert load(folder).dtype == getattr(torch, dtype)


@pytest.mark.parametrize("shard_bytes", [1, 20_000, 10**9])
def test_shards_do_not_change_the_model(shard_bytes: int, tmp_path: Path, merged: Merged) -> None:
    base, adapter, _ = make(Case("linear"), tmp_path)
    manifest, folder = merged(base, adapter, shard_bytes=shard_bytes)
    shards = [path for path in manifest.files if path.endswith(".safetensors")]
    expected = merged_by_hand(base, adapter)
    found = {name: tensor for path in shards for name, tensor in load_file(folder / path).items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len(shards) == {1: len(expected), 20_000: 6, 10**9: 1}[shard_bytes]
    load(folder)
