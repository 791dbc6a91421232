"""What comes along with the weights: configuration, tokenizer, chat template, generation settings, added tokens."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from plain_merge import run_merge
from tiny_adapters import make_adapter, make_base

from callwright.datasets.tokenizer import added_tokens, load_tokenizer
from callwright.dialects.foreign import special_tokens
from callwright.errors import InvalidInput
from callwright.merger.companions import listed_special_tokens
from callwright.merger.stage import differing_tokens
from callwright.store import Manifest, Store, fetch
from models import tiny_model

Merged = Callable[..., tuple[Manifest, Path]]
TEMPLATE = "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"


def make_tokenizer(folder: Path, *, added: tuple[str, ...] = (), template: str | None = TEMPLATE) -> Path:
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


EMBEDDED = "the template in the settings"


def embed(folder: Path, template: object) -> None:
    """Put the chat template into the tokenizer's settings, as older versions save it."""
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))


def test_an_adapters_tokenizer_without_a_template_has_the_bases(pair: tuple[Path, Path], merged: Merged) -> None:
    from transformers import AutoTokenizer

    for template in (None, ""):
        make_tokenizer(pair[1], added=("<tool>",), template=template)
        _, folder = merged(*pair, version=f"v{template}")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert (tokenizer.chat_template, tokenizer.encode("<tool>")) == (TEMPLATE, [90])


@pytest.mark.parametrize("template", [EMBEDDED, [{"name": "default", "template": EMBEDDED}]], ids=["one", "named"])
def test_a_bases_template_in_its_settings_goes_into_the_adapters(
    pair: tuple[Path, Path], merged: Merged, template: object
) -> None:
    from transformers import AutoTokenizer

    embed(pair[0], template)
    make_tokenizer(pair[1], added=("<tool>",), template=None)
    _, folder = merged(*pair)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.get_chat_template() == EMBEDDED
    assert tokenizer.encode("<tool>") == [90]


@pytest.mark.parametrize("base_embeds", [False, True])
@pytest.mark.parametrize("adapter_embeds", [False, True])
def test_an_adapters_template_is_the_only_one(
    pair: tuple[Path, Path], merged: Merged, base_embeds: bool, adapter_embeds: bool
) -> None:
    from transformers import AutoTokenizer

    make_tokenizer(pair[1], template="other")
    for embeds, folder, template in ((base_embeds, pair[0], EMBEDDED), (adapter_embeds, pair[1], "other")):
        if embeds:
            embed(folder, template)
    _, folder = merged(*pair)
    assert AutoTokenizer.from_pretrained(folder).chat_template == "other"
    assert (folder / "chat_template.jinja").exists() is not adapter_embeds
    assert ("chat_template" in json.loads((folder / "tokenizer_config.json").read_text())) is adapter_embeds


def test_an_adapters_template_alone_takes_the_bases_tokenizer(pair: tuple[Path, Path], merged: Merged) -> None:
    from transformers import AutoTokenizer

    embed(pair[0], EMBEDDED)
    (pair[1] / "chat_template.jinja").write_text("other")
    _, folder = merged(*pair)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.chat_template, tokenizer.encode("!")) == ("other", [0])
    assert "chat_template" not in json.loads((folder / "tokenizer_config.json").read_text())


def test_an_adapters_settings_alone_take_the_bases_tokenizer(pair: tuple[Path, Path], merged: Merged) -> None:
    from transformers import AutoTokenizer

    settings = json.loads((pair[0] / "tokenizer_config.json").read_text()) | {"model_max_length": 77}
    (pair[1] / "tokenizer_config.json").write_text(json.dumps(settings))
    _, folder = merged(*pair)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.chat_template, tokenizer.model_max_length, tokenizer.encode("!")) == (TEMPLATE, 77, [0])


def test_an_adapters_vocabulary_alone_takes_the_bases_settings(pair: tuple[Path, Path], merged: Merged) -> None:
    from transformers import AutoTokenizer

    base, adapter = pair
    for name in ("vocab.json", "merges.txt", "added_tokens.json"):
        (base / name).write_text("{}")
    make_tokenizer(adapter, added=("<tool>",))
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        (adapter / name).unlink()
    _, folder = merged(base, adapter)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.chat_template, tokenizer.encode("<tool>")) == (TEMPLATE, [90])
    assert not [name for name in ("vocab.json", "merges.txt", "added_tokens.json") if (folder / name).exists()]


def test_added_tokens_alone_stand_beside_the_bases_vocabulary(pair: tuple[Path, Path], merged: Merged) -> None:
    (pair[1] / "added_tokens.json").write_text('{"<tool>": 90}')
    _, folder = merged(*pair)
    assert json.loads((folder / "added_tokens.json").read_text()) == {"<tool>": 90}
    assert (folder / "tokenizer.json").read_bytes() == (pair[0] / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("own", [False, True], ids=["of the base", "of the adapter"])
def test_additional_templates_go_with_the_template(pair: tuple[Path, Path], merged: Merged, own: bool) -> None:
    from transformers import AutoTokenizer

    for folder in pair:
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / f"of_{folder.name}.jinja").write_text(folder.name)
    if own:
        make_tokenizer(pair[1], template="other")
    else:
        shutil.rmtree(pair[1] / "additional_chat_templates")
    _, folder = merged(*pair)
    expected = {"default": "other", "of_adapter": "adapter"} if own else {"default": TEMPLATE, "of_base": "base"}
    assert AutoTokenizer.from_pretrained(folder).chat_template == expected


def test_additional_templates_are_published_and_fetched(
    pair: tuple[Path, Path], merged: Merged, store: Store, tmp_path: Path
) -> None:
    (pair[0] / "additional_chat_templates").mkdir()
    (pair[0] / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    manifest, _ = merged(*pair)
    assert "additional_chat_templates/tool_use.jinja" in manifest.files
    fetched = fetch(store, manifest.name, manifest.version, tmp_path / "cache")
    assert (fetched / "additional_chat_templates" / "tool_use.jinja").read_text() == "tools"


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("added_tokens.json", {"<a>": 96}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"96": {"content": "<a>"}}}),
    ],
)
def test_tokens_without_rows_are_refused_wherever_they_are_added(
    pair: tuple[Path, Path], store: Store, name: str, held: dict[str, object]
) -> None:
    (pair[1] / name).write_text(json.dumps(held))
    with pytest.raises(InvalidInput, match=rf"adapter/{name} has tokens beyond the embedding's 96 rows: <a>; resize"):
        run_merge(store, *pair)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", '{"added_tokens": 3}'),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "["),
        ("tokenizer_config.json", '{"added_tokens_decoder": [1]}'),
        ("tokenizer_config.json", "[]"),
        ("added_tokens.json", '{"<a>": "x"}'),
    ],
)
def test_an_adapters_tokenizer_that_is_none_is_refused_by_file(
    pair: tuple[Path, Path], store: Store, name: str, text: str
) -> None:
    (pair[1] / name).write_text(text)
    with pytest.raises(InvalidInput, match=rf"adapter/{name}: "):
        run_merge(store, *pair)


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
    assert manifest.verification.tolerance == pytest.approx(0.005)
    assert manifest.verification.max_difference < 0.0005


def test_no_configuration_of_a_version_names_python(pair: tuple[Path, Path], merged: Merged) -> None:
    code = {"auto_map": {"AutoConfig": "evil.Config"}, "kept": 1}
    for name in ("config.json", "generation_config.json", "processor_config.json", "tokenizer_config.json"):
        path = pair[0] / name
        held = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(held | code | {"inner": [{"text": code}]}))
    _, folder = merged(*pair)
    for path in folder.glob("*config.json"):
        assert "auto_map" not in path.read_text(), path.name
        assert json.loads(path.read_text())["inner"] == [{"text": {"kept": 1}}]


def test_special_tokens_that_the_manifest_lists_and_the_loaded_tokenizer_has_not_are_named() -> None:
    assert differing_tokens(("<a>", "<b>"), ("<b>", "<a>")) == differing_tokens(None, ("<a>",)) == ""
    told = differing_tokens(("<a>", "<b>"), ("<b>", "<c>"))
    assert told.endswith("differ in 2: '<a>' (listed), '<c>' (loaded)")


def test_the_list_of_special_tokens_is_the_loaded_tokenizers(tmp_path: Path) -> None:
    """Also of those that only the settings name."""
    base = tiny_model(tmp_path / "base")
    settings = json.loads((base / "tokenizer_config.json").read_text())
    tokens = {
        "eos_token": "</s>",
        "pad_token": "[PAD]",
        "unk_token": "<|endoftext|>",
        "additional_special_tokens": ["<mark>"],
    }
    (base / "tokenizer_config.json").write_text(json.dumps(settings | tokens))
    listed = listed_special_tokens({path.name: path for path in base.glob("*.json")})
    assert listed is not None
    assert {"</s>", "[PAD]", "<mark>"} <= set(listed)
    assert differing_tokens(listed, special_tokens(added_tokens(load_tokenizer(base)))) == ""
