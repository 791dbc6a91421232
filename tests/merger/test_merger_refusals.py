"""What cannot be merged is refused before anything is written, with the names and what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_merge import run_merge
from safetensors.torch import load_file, save_file
from tiny_adapters import make_base

from callwright.errors import CallwrightError, InvalidInput, NotFound, StageFailed
from callwright.merger import read_inputs
from callwright.store import Store


@pytest.fixture
def copies(pair: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A base and an adapter that a test may spoil."""
    import shutil

    return tuple(shutil.copytree(path, tmp_path / path.name) for path in pair)  # type: ignore[return-value]


def configure(folder: Path, **changes: Any) -> None:
    path = next(path for path in (folder / "adapter_config.json", folder / "config.json") if path.exists())
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(file: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def refused(store: Store, base: Path, adapter: Path, kind: type[CallwrightError], words: str) -> None:
    with pytest.raises(kind, match=words):
        run_merge(store, base, adapter)
    assert store.list() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "got peft_type 'IA3'; expected 'LORA'"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4', which changes the base itself"),
        ({"init_lora_weights": "olora"}, "path_initial_model_for_weight_conversion"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "it uses target_parameters, which cannot be merged"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"kasa_config": {"beta": 1}, "use_qalora": True}, "it uses kasa_config, use_qalora"),
        ({"some_future_thing": True}, "it uses some_future_thing"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"r": 8}, r"self_attn.* has rank 4; expected 8 by its configuration|has rank 4; expected 8"),
        ({"use_dora": True}, "use_dora is True; its weights disagree"),
    ],
)
def test_adapters_that_are_more_than_weights(
    copies: tuple[Path, Path], store: Store, changes: dict[str, Any], words: str
) -> None:
    configure(copies[1], **changes)
    refused(store, *copies, InvalidInput, words)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rank_pattern", None, "rank_pattern: got None; expected"),
        ("rank_pattern", ["q_proj"], r"rank_pattern: got \['q_proj'\]; expected"),
        ("rank_pattern", {"q_proj": "8"}, "rank_pattern.q_proj: got '8'; expected a valid integer"),
        ("rank_pattern", {"q_proj": 0}, "rank_pattern.q_proj: got 0; expected greater than 0"),
        ("rank_pattern", {"q_proj": True}, "rank_pattern.q_proj: got True; expected a valid integer"),
        ("rank_pattern", {"(q_proj": 8}, "got '\\(q_proj'; expected a regular expression, but missing \\)"),
        ("rank_pattern", {"*_proj": 8}, "expected a regular expression, but nothing to repeat"),
        ("rank_pattern", {"(.*)*x": 8}, r"got '\(\.\*\)\*x'; expected a regular expression that is matched soon"),
        ("rank_pattern", {"q_proj": 8, ".*" * 9 + "x": 8}, "expected a regular expression that is matched soon"),
        ("rank_pattern", {"(" * 3000: 8}, "expected a regular expression, but"),
        ("alpha_pattern", {"(?i:(ab|AB)*)x": 8}, "expected a regular expression that is matched soon"),
        ("alpha_pattern", {"a?" * 40 + "a" * 40: 8}, "expected a regular expression that is matched soon"),
        ("alpha_pattern", {r"(\w+)\1*x": 8}, "expected a regular expression that is matched soon"),
        ("target_modules", "(a|.)*x", "expected a regular expression that is matched soon"),
        ("exclude_modules", "(.*?){30}x", "expected a regular expression that is matched soon"),
        ("modules_to_save", ["(?=(.+)+x)"], "expected a regular expression that is matched soon"),
        ("layers_pattern", "(h+)+", "expected a regular expression that is matched soon"),
        ("alpha_pattern", None, "alpha_pattern: got None; expected"),
        ("alpha_pattern", {"q_proj": "8"}, "alpha_pattern.q_proj: got '8'; expected a valid number"),
        ("alpha_pattern", {"q_[proj": 8}, "got 'q_\\[proj'; expected a regular expression, but unterminated"),
        ("lora_alpha", "8", "lora_alpha: got '8'; expected a valid number"),
        ("lora_alpha", None, "lora_alpha: got None; expected a valid number"),
        ("lora_alpha", True, "lora_alpha: got True; expected a valid number"),
        ("lora_alpha", float("nan"), "lora_alpha: got nan; expected a finite number"),
        ("r", "4", "r: got '4'; expected a valid integer"),
        ("r", 0, "r: got 0; expected greater than 0"),
        ("r", -4, "r: got -4; expected greater than 0"),
        ("r", True, "r: got True; expected a valid integer"),
        ("r", 4.0, "r: got 4.0; expected a valid integer"),
        ("r", None, "r: got None; expected a valid integer"),
        ("use_rslora", "false", "use_rslora: got 'false'; expected a valid boolean"),
        ("use_dora", "no", "use_dora: got 'no'; expected a valid boolean"),
        ("fan_in_fan_out", 0, "fan_in_fan_out: got 0; expected a valid boolean"),
        ("bias", "some", "bias: got 'some'; expected 'none', 'all' or 'lora_only'"),
        ("modules_to_save", "lm_head", "modules_to_save: got 'lm_head'; expected a valid array"),
        ("modules_to_save", ["(lm_head"], "modules_to_save: got '\\(lm_head'; expected a regular expression"),
        ("target_modules", "(q_proj", "target_modules: got '\\(q_proj'; expected"),
        ("target_modules", 3, "target_modules: got 3; expected"),
        ("exclude_modules", "[", "exclude_modules: got '\\['; expected"),
        ("layers_to_transform", "1", "layers_to_transform: got '1'; expected"),
        ("layers_pattern", "(h", "layers_pattern: got '\\(h'; expected"),
    ],
)
def test_a_configuration_that_peft_would_fail_on_is_refused_by_file_and_key(
    copies: tuple[Path, Path], store: Store, key: str, value: Any, words: str
) -> None:
    configure(copies[1], **{key: value})
    refused(store, *copies, InvalidInput, f"adapter_config.json: .*{words}")


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_dropout": "much"},
        {"target_modules": None},
        {"target_modules": "nothing_at_all"},
        {"target_modules": ".*", "layers_to_transform": [1]},
        {"layers_pattern": "layers"},
        {"task_type": "CAUSAL_LM", "base_model_name_or_path": 3, "lora_dropout": {}},
    ],
    ids=str,
)
def test_what_peft_refuses_or_reads_otherwise_is_not_published(
    copies: tuple[Path, Path], store: Store, changes: dict[str, Any]
) -> None:
    configure(copies[1], **changes)
    with pytest.raises((InvalidInput, StageFailed), match="verifying the merge: "):
        run_merge(store, *copies)
    assert not store.exists("models/m/versions/v1/manifest.json")


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"r": 4', "\x80"])
def test_a_configuration_that_is_no_json_object_is_refused_by_file(
    copies: tuple[Path, Path], store: Store, text: str
) -> None:
    (copies[1] / "adapter_config.json").write_bytes(text.encode("latin-1"))
    refused(store, *copies, InvalidInput, r"adapter_config\.json: ")


def test_an_adapter_of_another_base(pair: tuple[Path, Path], tmp_path: Path, store: Store) -> None:
    wider = make_base(tmp_path / "wider", family="llama")
    configure(wider, model_type="llama")
    rewrite(wider / "model.safetensors", lambda t: t.update({"model.layers.0.mlp.up_proj.weight": torch.zeros(60, 32)}))
    words = r"layers\.0\.mlp\.up_proj does not fit: the adapter makes \[56, 32\], the base has \[60, 32\]"
    refused(store, wider, pair[1], InvalidInput, words)


def test_a_base_without_the_modules(copies: tuple[Path, Path], store: Store) -> None:
    rewrite(copies[0] / "model.safetensors", lambda t: [t.pop(n) for n in list(t) if "mlp" in n and "layers.1" in n])
    words = r"the adapter changes model\.layers\.1\.mlp\.down_proj, .*up_proj, which .*/base does not have"
    refused(store, *copies, InvalidInput, words)


@pytest.mark.parametrize("part", ["lora_A.weight", "lora_B.weight"])
def test_half_an_adapter(copies: tuple[Path, Path], store: Store, part: str) -> None:
    name = f"base_model.model.model.layers.0.self_attn.q_proj.{part}"
    rewrite(copies[1] / "adapter_model.safetensors", lambda tensors: [tensors.pop(name)])
    refused(store, *copies, InvalidInput, r"layers\.0\.self_attn\.q_proj has lora_.; expected both lora_A and lora_B")


def test_parts_that_nobody_knows(copies: tuple[Path, Path], store: Store) -> None:
    strange = {"base_model.model.model.layers.0.self_attn.q_proj.lora_diag": torch.zeros(4)}
    rewrite(copies[1] / "adapter_model.safetensors", lambda tensors: tensors.update(strange))
    refused(store, *copies, InvalidInput, r"1 tensors cannot be merged: .*q_proj\.lora_diag")


def test_a_training_that_diverged(copies: tuple[Path, Path], store: Store) -> None:
    name = "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"
    rewrite(copies[1] / "adapter_model.safetensors", lambda tensors: tensors[name].fill_(float("nan")))
    with pytest.raises(InvalidInput, match=r"v_proj\.lora_B\.weight has values that are not finite"):
        run_merge(store, *copies)
    assert not store.exists("models/m/versions/v1/manifest.json")


def test_values_beyond_float16(copies: tuple[Path, Path], store: Store) -> None:
    name = "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"
    rewrite(copies[1] / "adapter_model.safetensors", lambda tensors: tensors[name].fill_(1e6))
    with pytest.raises(StageFailed, match=r"v_proj\.weight has values beyond float16; choose bfloat16 or float32"):
        run_merge(store, *copies, dtype="float16")
    assert not store.exists("models/m/versions/v1/manifest.json")


def test_a_quantised_base(copies: tuple[Path, Path], store: Store) -> None:
    configure(copies[0], quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    refused(store, *copies, InvalidInput, r"is quantised \(bitsandbytes\); give the base that it was made from")


def test_a_base_of_integers(copies: tuple[Path, Path], store: Store) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    rewrite(copies[0] / "model.safetensors", lambda tensors: tensors.update({name: tensors[name].to(torch.int8)}))
    refused(store, *copies, InvalidInput, r"weights of the base are no floats: model\.layers\.0.*q_proj\.weight I8")


def test_what_is_not_there(copies: tuple[Path, Path], store: Store, tmp_path: Path) -> None:
    base, adapter = copies
    refused(store, tmp_path / "no", adapter, NotFound, r"no/config\.json: no such file")
    refused(store, base, tmp_path / "no", NotFound, "no directory")
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    refused(store, base, adapter, NotFound, r"no model\.safetensors and .*; save it with safe_serialization")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    (base / "pytorch_model.bin").rename(base / "model.safetensors")
    refused(store, base, adapter, InvalidInput, r"adapter_model\.bin; expected adapter_model\.safetensors")


def test_files_cut_short(copies: tuple[Path, Path], store: Store) -> None:
    base, adapter = copies
    whole = (base / "model.safetensors").read_bytes()
    for cut in (0, 5, 100, len(whole) - 1):
        (base / "model.safetensors").write_bytes(whole[:cut])
        refused(store, base, adapter, InvalidInput, r"model\.safetensors: (not a safetensors file|got \d+ bytes)")
    (base / "model.safetensors").write_bytes(whole)
    (adapter / "adapter_config.json").write_text("{")
    refused(store, base, adapter, InvalidInput, r"adapter_config\.json")


def test_an_index_that_names_missing_files(copies: tuple[Path, Path], store: Store) -> None:
    (copies[0] / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (copies[0] / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(store, *copies, NotFound, r"names files that are not there: model-00001-of-00002\.safetensors")


def test_a_dtype_that_is_none(pair: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidInput, match="got dtype 'int4'; expected one of base, float32, bfloat16, float16"):
        read_inputs(*pair, dtype="int4")


def test_weights_that_do_not_compute_the_same_are_not_published(
    pair: tuple[Path, Path], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from callwright.merger import arithmetic

    monkeypatch.setattr(arithmetic._Product, "add", lambda self, rows, first, end: None)
    with pytest.raises(StageFailed, match=r"logits differ from base \+ adapter by .* nothing was published"):
        run_merge(store, *pair)
    assert not store.exists("models/m/versions/v1/manifest.json")
    monkeypatch.undo()
    with pytest.raises(StageFailed):  # the rerun finds the same bytes: a wrong merge does not become right by itself
        run_merge(store, *pair)
    assert run_merge(store, *pair, version="v2").verification
