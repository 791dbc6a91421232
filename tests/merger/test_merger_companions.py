"""What comes along with the weights: configuration, tokenizer, chat template, generation settings, added tokens."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from plain_merge import run_merge
from tiny_adapters import make_adapter, make_base

from callwright.errors import InvalidInput
from callwright.store import Manifest, Store

Merged = Callable[..., tuple[Manifest, Path]]
TEMPLATE = "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"


def make_tokenizer(folder: Path, *, added: tuple[str, ...] = (), template: str = TEMPLATE) -> Path:
    """A tokenizer of 90 characters, with `added` tokens after them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {chr(33 + n): n for n in range(89)} | {"<unk>": 89}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", chat_template=template)
    fast.add_tokens(list(added), special_tokens=True)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    base = make_tokenizer(make_base(tmp_path / "base"))
    return base, make_adapter(tmp_path / "adapter", base)


def test_everything_of_the_base_comes_along(pair: tuple[Path, Path], merged: Merged) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    base, adapter = pair
    (base / "LICENSE").write_text("free")
    (base / "README.md").write_text("of the base alone")
    (base / "training_args.bin").write_bytes(b"?")
    generation = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps(generation | {"temperature": 0.7, "use_cache": False}))
    manifest, folder = merged(base, adapter)
    names = {path.name for path in base.iterdir()} - {"README.md", "training_args.bin"}
    assert manifest.files.keys() == names
    assert (folder / "LICENSE").read_text() == "free"
    assert AutoTokenizer.from_pretrained(folder).chat_template == TEMPLATE
    assert GenerationConfig.from_pretrained(folder).temperature == 0.7
    assert GenerationConfig.from_pretrained(folder).use_cache is True


def test_the_adapters_tokenizer_goes_before_the_bases(pair: tuple[Path, Path], merged: Merged) -> None:
    from transformers import AutoTokenizer

    make_tokenizer(pair[1], added=("<tool>",), template="other")
    _, folder = merged(*pair)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == "other"
    assert tokenizer.encode("<tool>") == [90]


def test_added_tokens_come_with_their_rows(tmp_path: Path, merged: Merged) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = make_tokenizer(make_base(tmp_path / "base"))
    adapter = make_adapter(tmp_path / "adapter", base, grown=100)
    make_tokenizer(adapter, added=tuple(f"<tool {n}>" for n in range(10)))
    _, folder = merged(base, adapter)
    config = json.loads((folder / "config.json").read_text())
    assert config["vocab_size"] == 100
    assert AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight.shape[0] == 100
    assert AutoTokenizer.from_pretrained(folder).encode("<tool 9>") == [99]


def test_tokens_without_rows_are_refused(pair: tuple[Path, Path], store: Store) -> None:
    make_tokenizer(pair[1], added=tuple(f"<tool {n}>" for n in range(8)))
    with pytest.raises(InvalidInput, match=r"tokens beyond the embedding's 96 rows: <tool 6>, <tool 7>; resize"):
        run_merge(store, *pair)


def test_the_manifest_says_where_it_comes_from(pair: tuple[Path, Path], merged: Merged) -> None:
    manifest, folder = merged(
        *pair, base={"model": "hub/base", "revision": "abc"}, metrics={"loss": 0.5}, dtype="float16"
    )
    assert Manifest.model_validate_json((folder / "manifest.json").read_bytes()) == manifest
    assert (manifest.dialect, manifest.stop, manifest.dtype) == ("react_en", ("Observation:",), "float16")
    assert (manifest.base.model, manifest.base.revision) == ("hub/base", "abc")
    assert manifest.metrics == {"loss": 0.5}
    assert manifest.verification
    assert manifest.verification.positions == 32
    assert manifest.verification.tolerance == pytest.approx(0.01)
    assert manifest.verification.max_difference < 0.005
