"""Tokens by the word are the tokenizer's own tokens, whatever the text; where that is not certain it is asked."""

import json
from collections.abc import Callable
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from callwright.datasets.base import HandedOver, hand_over, load_tokenizer
from callwright.datasets.template import ChatTemplate
from callwright.datasets.tokens import TokenMaker
from callwright.datasets.words import WordMaker
from callwright.errors import InvalidInput

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = [
    'Thought: I should call the tool\'s API.\nAction Input: {"city": "Oslo", "days": 12}\n\n 使用工具 it\'ll 2024'
]


def split_by(pattern: str) -> Any:
    """The pre-tokenizer of a base that splits by `pattern`."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior="isolated"), byte_level])


def made(pre_tokenizer: Any) -> Tokenizer:
    """A byte-level BPE tokenizer with some merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return tokenizer


TOKENIZERS = {
    "qwen": made(split_by(QWEN)),
    "llama": made(split_by(LLAMA)),
    "o200k": made(split_by(O200K)),
    "gpt2": made(pre_tokenizers.ByteLevel(add_prefix_space=False)),
}
MAKERS = {name: TokenMaker(tokenizer) for name, tokenizer in TOKENIZERS.items()}
PIECES = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(max_codepoint=0x24F), max_size=12),
    st.sampled_from([*CORPUS, "<|im_start|>", "\n1. Get it", " \u00a0\n", "'S'Ll", "\u017f", "\x1c\x85", "\u208f"]),
)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(pieces=st.lists(PIECES, max_size=8))
def test_the_ids_of_any_text_are_the_tokenizers(name: str, pieces: list[str]) -> None:
    text = "".join(pieces)
    whole = TOKENIZERS[name].encode(text, add_special_tokens=False)
    found = MAKERS[name].tokenize(text)
    assert list(found.ids) == whole.ids
    ends = [0, *accumulate((end for _, end in whole.offsets), max)]
    assert found.begins == [min(start, end) for (start, _), end in zip(whole.offsets, ends, strict=False)]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_character_that_is_looked_up_by_the_word_splits_as_the_tokenizer_splits(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    words = WordMaker.for_tokenizer(tokenizer, json.loads(tokenizer.to_str()))
    assert words is not None
    codes = chain(range(0x3100), range(0x3100, 0xD800, 16), range(0xE000, 0x110000, 16))
    characters = list(filter(words.knows, map(chr, codes)))
    for start in range(0, len(characters), 4096):
        text = "x\n\0".join(f"a{c}b 1{c}  {c}{c}\n'{c}" for c in characters[start : start + 4096])
        assert words.split(text) == [text[a:b] for _, (a, b) in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize(
    "other",
    [
        pre_tokenizers.Metaspace(),
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
    ],
)
def test_a_tokenizer_that_splits_otherwise_is_asked_itself(other: Any) -> None:
    tokenizer = made(other)
    assert WordMaker.for_tokenizer(tokenizer, json.loads(tokenizer.to_str())) is None
    text = "It's 2024:\n 使用  <|im_start|>x"
    assert list(TokenMaker(tokenizer).tokenize(text).ids) == tokenizer.encode(text, add_special_tokens=False).ids


def test_what_is_handed_to_other_processes_templates_and_counts_as_the_bases_own(
    base_dir: Path, tmp_path: Path
) -> None:
    own, other = load_tokenizer(base_dir), HandedOver(hand_over(base_dir, tmp_path / "tokenizer"))
    turns = [{"role": "user", "content": "Oslo?"}, {"role": "assistant", "content": "Final Answer: yes"}]
    for prompt in (False, True):
        texts = [each.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt) for each in (own, other)]
        assert texts[0] == texts[1]
    assert own.get_added_vocab() == other.get_added_vocab()
    assert (own.eos_token, own.name_or_path) == (other.eos_token, other.name_or_path)
    assert own.backend_tokenizer.to_str() == other.backend_tokenizer.to_str()


def test_a_base_without_a_template_is_refused_in_other_processes_too(
    make_base: Callable[..., Path], tmp_path: Path
) -> None:
    other = HandedOver(hand_over(make_base(None), tmp_path / "tokenizer"))
    with pytest.raises(InvalidInput, match="no chat template in"):
        ChatTemplate(other).fill([{"role": "user", "content": "Oslo?"}])
