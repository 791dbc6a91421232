"""Bases of several families: packed and padded agree, logits are the base's own, the adapter is what was asked for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from callwright.errors import InvalidInput
from callwright.spec.model import Base, Lora, Train
from callwright.trainer.model import AdaptedModel, load_model, resolve_dtype
from callwright.trainer.rows import Batch, Segments
from callwright.trainer.train_loop import save_adapter
from models import tiny_model

SIZES = {"vocab_size": 90, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "pad_token_id": 0}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 8}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {}, "llama": {}, "mistral": {"sliding_window": 5}, "gemma3_text": {"sliding_window": 5}, "qwen3": {},
    "cohere": {"logit_scale": 0.2}, "granite": {"logits_scaling": 3.0}, "gemma2": {"final_logit_softcapping": 2.0},
}  # fmt: skip
LENGTHS = (9, 14, 3)


def base(folder: Path, family: str) -> Path:
    torch.manual_seed(2)
    config = transformers.AutoConfig.for_model(family, **SIZES, **FAMILIES[family])
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def load(folder: Path, lora: Lora | None = None, **train: Any) -> AdaptedModel:
    lora = lora or Lora(rank=4, dropout=0)
    return load_model(folder, Base(model="tiny"), lora, Train(**train), torch.device("cpu"))


def batches() -> tuple[list[Batch], Batch]:
    ids = [torch.randint(3, 90, (length,), generator=torch.Generator().manual_seed(length)) for length in LENGTHS]
    cpu = torch.device("cpu")
    alone = [Batch.of(each.unsqueeze(0), torch.ones(1, len(each)), cpu) for each in ids]
    positions = torch.cat([torch.arange(length) for length in LENGTHS]).unsqueeze(0)
    ends = torch.tensor([0, *LENGTHS]).cumsum(0).int()
    whole = torch.cat(ids).unsqueeze(0)
    packed = Batch.of(whole, torch.ones(whole.shape), cpu)
    return alone, replace(packed, positions=positions, segments=Segments(LENGTHS, ends))


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_sequences_do_not_see_each_other(tmp_path: Path, family: str) -> None:
    adapted = load(base(tmp_path, family))
    adapted.model.eval()
    alone, packed = batches()
    expected = torch.cat([adapted.hidden_states(each) for each in alone], dim=1)
    assert adapted.packable
    torch.testing.assert_close(adapted.hidden_states(packed), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_base(tmp_path: Path, family: str) -> None:
    adapted = load(base(tmp_path, family))
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    (first, *_), _ = batches()
    torch.testing.assert_close(
        adapted.logits()(adapted.hidden_states(first)), plain(first.input_ids).logits, rtol=1e-4, atol=1e-5
    )


def test_a_base_that_mixes_tokens_elsewhere_is_padded(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model("lfm2", **SIZES, layer_types=["conv", "full_attention"])
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    assert not load(tmp_path).packable


def test_packing_can_be_left_off(tmp_path: Path) -> None:
    assert not load(base(tmp_path, "qwen2"), packing=False).packable


@pytest.mark.parametrize("lora", [
    {"targets": "all"}, {"targets": ("q_proj", "down_proj")}, {"rslora": True}, {"dora": True},
    {"modules_to_save": ("lm_head",)}, {},
], ids=str)  # fmt: skip
def test_the_adapter_is_what_was_asked_for(tmp_path: Path, lora: dict[str, Any]) -> None:
    folder = base(tmp_path / "base", "qwen2")
    adapted = load(folder, Lora(rank=4, alpha=6, **lora))
    save_adapter(adapted.model, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 6, "tiny")
    assert (config["use_rslora"], config["use_dora"]) == (lora.get("rslora", False), lora.get("dora", False))
    linear = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    match lora.get("targets"):
        case "all":
            expected = linear | {"embed_tokens"}
        case None:
            expected = linear
        case names:
            expected = set(names)
    assert {name.rsplit(".", 1)[-1] for name in config["target_modules"]} == expected
    assert config["modules_to_save"] == (list(lora.get("modules_to_save", ())) or None)
    trained = {
        name.split(".")[-4] for name, p in adapted.model.named_parameters() if p.requires_grad and "lora_A" in name
    }
    assert trained == expected - {"embed_tokens"}
    assert any("lora_embedding" in name for name, _ in adapted.model.named_parameters()) == ("embed_tokens" in expected)


def test_neftune_is_noise_of_each_sequences_own_size(tmp_path: Path) -> None:
    adapted = load(base(tmp_path, "qwen2"), neftune_alpha=6.0)
    embedded, (_, packed) = torch.zeros(1, sum(LENGTHS), 32), batches()
    noise = adapted._with_noise(embedded, packed)[0].split(LENGTHS)
    for part, length in zip(noise, LENGTHS, strict=True):
        assert 0.8 < part.abs().max() / (6.0 / (length * 32) ** 0.5) <= 1
    adapted.model.train()
    torch.manual_seed(0)
    first = adapted.hidden_states(packed)
    assert not torch.equal(adapted.hidden_states(packed), first)
    adapted.model.eval()
    assert torch.equal(adapted.hidden_states(packed), adapted.hidden_states(packed))


@pytest.mark.parametrize(("device", "native", "dtype"), [
    ("cpu", True, torch.float32), ("cuda", True, torch.bfloat16), ("cuda", False, torch.float32),
])  # fmt: skip
def test_auto_is_bfloat16_where_a_gpu_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, device: str, native: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: native)
    assert resolve_dtype("auto", torch.device(device)) == dtype
    assert resolve_dtype("bfloat16", torch.device(device)) == torch.bfloat16
    assert resolve_dtype("float32", torch.device(device)) == torch.float32


def test_quantization_without_a_gpu_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"lora.quantize is nf4; got cpu.*expected a GPU and bitsandbytes"):
        load(tiny_model(tmp_path), Lora(quantize="nf4"))


@pytest.mark.parametrize("weight", ["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"])
@pytest.mark.parametrize("change", ["gone", "another shape"])
def test_a_base_whose_weights_would_be_made_up_is_refused(tmp_path: Path, weight: str, change: str) -> None:
    from safetensors.torch import load_file, save_file

    file = base(tmp_path, "llama") / "model.safetensors"
    tensors = load_file(file)
    shape = tensors.pop(weight).shape
    if change != "gone":
        tensors[weight] = torch.zeros(shape[0] + 10, *shape[1:])
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=f"loading the base: {tmp_path} lacks {weight}, .*; fetch the base again"):
        load(tmp_path)


def test_a_head_of_its_own_is_trained_with_where_the_base_says_tied(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = base(tmp_path, "llama") / "model.safetensors"
    config = json.loads((tmp_path / "config.json").read_text()) | {"tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load(tmp_path).model.get_base_model()
    assert torch.equal(model.get_output_embeddings().weight, load_file(file)["lm_head.weight"])
    tensors = load_file(file)
    save_file({k: v for k, v in tensors.items() if k != "lm_head.weight"}, file, metadata={"format": "pt"})
    model = load(tmp_path).model.get_base_model()
    assert torch.equal(model.get_output_embeddings().weight, tensors["model.embed_tokens.weight"])
