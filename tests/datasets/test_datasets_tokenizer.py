"""Tokens are the tokenizer's own for the whole text, and each has the weight of the piece that it comes from.

Checked for Qwen3's tokenizer and for small ones of every kind that bases come with.
"""

import lzma
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from talk import TRIP, conversations
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from callwright import dialects
from callwright.datasets import Conversation, show
from callwright.datasets.encoding import Encoder
from callwright.datasets.layout import Layout, Piece
from callwright.datasets.tokenizer import Tokens, load_tokenizer
from callwright.spec.model import LossWeights

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CORPUS = [
    'Thought: I should call it\'ll.\nAction Input: {"city": "Oslo", "days": 12}\n\n 使用工具 2024 cafe\u0301 ﬁ ½'
] * 4
SPECIAL = ["<|im_start|>", "<|im_end|>", "<unk>"]
RELAXED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def byte_level(pre_tokenizer: Any = None, **parts: Any) -> Tokenizer:
    """Byte-level BPE, as GPT-2, Llama 3 and Qwen have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return trained(tokenizer, SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **parts)


def sentence_piece(pre_tokenizer: Any, **parts: Any) -> Tokenizer:
    """BPE over characters with bytes for what is not in the vocabulary, as Llama 2, Mistral and Gemma have it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return trained(tokenizer, [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))], **parts)


def trained(
    tokenizer: Tokenizer, special: list[str], normalizer: Any = None, post: Any = None, **more: Any
) -> Tokenizer:
    """`tokenizer` with those parts and some merges."""
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False, **more)
    tokenizer.train_from_iterator(CORPUS, trainer)
    if post:
        tokenizer.post_processor = post
    return tokenizer


def split_by(pattern: str) -> Any:
    """The pre-tokenizer of a base that splits by `pattern`."""
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior="isolated"), bytes_only])


MADE = {
    "gpt2": byte_level(),
    "qwen": byte_level(split_by(QWEN), normalizer=normalizers.NFC()),
    "llama3": byte_level(split_by(QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|"))),
    "roberta": byte_level(
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        post=processors.RobertaProcessing(("<|im_end|>", 1), ("<|im_start|>", 0), trim_offsets=True),
    ),
    "nfd": byte_level(normalizer=normalizers.NFD()),
    "metaspace": sentence_piece(pre_tokenizers.Metaspace()),
    "mistral": sentence_piece(pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "llama2": sentence_piece(
        pre_tokenizers.Sequence([]),
        normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
    ),
    "gemma": sentence_piece(
        pre_tokenizers.Split(" ", "merged_with_previous"), normalizer=normalizers.Replace(" ", "▁")
    ),
}
BYTE_LEVEL = ("qwen3", "gpt2", "llama3")
NAMES = ("qwen3", *MADE)


@pytest.fixture(scope="session")
def qwen3(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Qwen3's own tokenizer with its own chat template, as the stage loads it."""
    given, folder = shared / "tokenizers" / "qwen3", tmp_path_factory.mktemp("qwen3")
    if not given.is_dir():
        pytest.skip("needs the tokenizer of ../shared/tokenizers/qwen3, which is not part of the repository")
    (folder / "tokenizer.json").write_bytes(lzma.decompress((given / "tokenizer.json.xz").read_bytes()))
    (folder / "tokenizer_config.json").write_bytes((given / "tokenizer_config.json").read_bytes())
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    return load_tokenizer(folder)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Tokenizer:
    """The tokenizer of that name."""
    if request.param == "qwen3":
        return request.getfixturevalue("qwen3").backend_tokenizer
    return MADE[request.param]


_NONE = Tokens(Tokenizer(models.BPE()).encode(""))


def laid_out(texts: list[str]) -> Layout:
    """The texts as pieces with weights 0, 1, 2, …"""
    pieces = []
    end = 0
    for number, text in enumerate(texts):
        end += len(text)
        pieces.append(Piece(end, f"piece {number}", float(number)))
    return Layout("".join(texts), tuple(pieces), _NONE, {})


def weights(layout: Layout, tokens: Tokens) -> list[float]:
    """The weight of each token, as `Encoder` gives it."""
    counts = zip(layout.pieces, layout._replace(tokens=tokens).token_counts(), strict=True)
    return [piece.weight for piece, count in counts for _ in range(count)]


def tokenize(backend: Tokenizer, text: str) -> Tokens:
    """The text's tokens."""
    return Tokens(backend.encode_batch([text], add_special_tokens=False)[0])


PIECES = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.text(st.characters(max_codepoint=0x24F), max_size=12),
        st.sampled_from(
            [
                *CORPUS[0].split(" "),
                " ",
                "<|im_start|>",
                "\n1. Get it",
                " \u00a0\n",
                "e\u0301\u0323",
                "🙂👩‍👩‍👧",
                "京",
                "ﬁ",
                "\u0344",
            ]
        ),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("backend", NAMES, indirect=True)
@RELAXED
@given(texts=PIECES)
def test_law_every_token_begins_in_order_and_inside_the_text(backend: Tokenizer, texts: list[str]) -> None:
    layout = laid_out(texts)
    tokens = tokenize(backend, layout.text)
    assert tokens.ids == backend.encode(layout.text, add_special_tokens=False).ids
    begins = [tokens.begin(index) for index in range(len(tokens.ids))]
    assert begins == sorted(begins)
    assert not begins or (begins[0] == 0 and begins[-1] < len(layout.text))
    expected = [next(piece.weight for piece in layout.pieces if begin < piece.end) for begin in begins]
    assert weights(layout, tokens) == expected


@pytest.mark.parametrize("backend", BYTE_LEVEL, indirect=True)
@RELAXED
@given(texts=PIECES)
def test_law_weights_are_those_of_the_bytes_that_tokens_stand_for(backend: Tokenizer, texts: list[str]) -> None:
    layout = laid_out([backend.normalizer.normalize_str(text) if backend.normalizer else text for text in texts])
    text = layout.text
    if backend.normalizer and backend.normalizer.normalize_str(text) != text:
        return  # composed across a border: its bytes are no longer the text's
    tokens = tokenize(backend, text)
    owners = [n for n, each in enumerate(laid_pieces(layout)) for character in each for _ in character.encode()]
    within = [i for each in text for i in range(len(each.encode()))]
    expected = []
    position = 0
    for token in tokens.ids:
        first = position - within[position]  # the character's first byte
        expected.append(float(owners[first]))
        position += token_bytes(backend, token)
    assert position == len(owners)
    assert weights(layout, tokens) == expected


def laid_pieces(layout: Layout) -> list[str]:
    """The texts of the pieces."""
    starts = [0, *(piece.end for piece in layout.pieces)]
    return [layout.text[start : piece.end] for start, piece in zip(starts, layout.pieces, strict=False)]


def token_bytes(backend: Tokenizer, token: int) -> int:
    """How many bytes a byte-level token stands for."""
    added = backend.get_added_tokens_decoder().get(token)
    return len(added.content.encode() if added else backend.id_to_token(token))


LETTERS = ("abcdefgh", "ijklmnop", "qrstuvwx", "ABCDEFGH", "IJKLMNOP", "yzýÿźž\u0301\u0308", "京使用工具", "天气怎么样")
"""Whoever reads a token in these letters knows which piece it comes from."""


@pytest.mark.parametrize("backend", NAMES, indirect=True)
def test_a_token_has_the_weight_of_the_piece_that_its_letters_come_from(backend: Tokenizer) -> None:
    chance = random.Random(0)
    told = 0
    for _ in range(30):
        words = [["".join(chance.choices(letters, k=chance.randint(1, 6))) for _ in range(4)] for letters in LETTERS]
        starts = chance.choices(["", " ", "\n", "<|im_end|>", ": "], k=len(LETTERS))
        layout = laid_out([start + " ".join(each) for start, each in zip(starts, words, strict=True)])
        tokens = tokenize(backend, layout.text)
        for token, weight in zip(tokens.ids, weights(layout, tokens), strict=True):
            written = backend.decode([token], skip_special_tokens=False)
            owners = [n for letter in written for n, letters in enumerate(LETTERS) if letter in letters]
            if owners and "<" not in written:
                told += 1
                assert weight == owners[0]
    assert told > 1000


def test_a_token_across_a_border_belongs_to_the_piece_of_its_first_character() -> None:
    tokens = tokenize(MADE["qwen"], "Thought: it")
    assert [MADE["qwen"].id_to_token(token) for token in tokens.ids][:2] == ["Thought", ":"]
    assert weights(laid_out(["Thou", "ght:", " it"]), tokens)[:2] == [0.0, 1.0]
    joined = tokenize(MADE["qwen"], "cafe\u0301")
    assert weights(laid_out(["cafe", "\u0301"]), joined)[-1] == 0.0  # composed with the letter before it
    for name, start in (("gpt2", 7), ("roberta", 8)):  # roberta's offsets leave out the space that its token has
        spaced = tokenize(MADE[name], "Thought call")
        assert MADE[name].encode("Thought call", add_special_tokens=False).offsets[-1] == (start, 12)
        assert weights(laid_out(["Thought", " call"]), spaced)[-1] == 1.0
        assert weights(laid_out(["Thought ", "call"]), spaced)[-1] == 0.0


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@RELAXED
@given(talk=conversations())
def test_law_a_texts_ids_are_those_of_qwen3_for_the_whole_or_for_a_prompt_and_its_answer(
    qwen3: Any, name: str, talk: Conversation
) -> None:
    def encoded(text: str) -> list[int]:
        ids: list[int] = qwen3(text, add_special_tokens=False)["input_ids"]
        return ids

    encoder = Encoder(dialects.load(name), qwen3, LossWeights())
    for example, layout in zip(encoder.encode(talk), encoder.layouts(talk), strict=True):
        ends = [0, *layout.prompts.values()]
        texts = [(layout.text[:end], layout.text[end:]) for end in (ends if len(ends) == 2 else [0])]
        assert list(example.input_ids) in [[*encoded(first), *encoded(rest)] for first, rest in texts]
        assert [token.weight for token in show.tokens(layout)] == list(example.weights)


def test_a_tokenizer_that_cuts_and_pads_is_made_to_do_neither(base_dir: Path) -> None:
    dialect, whole, cutting = dialects.load("ms_agent"), load_tokenizer(base_dir), load_tokenizer(base_dir)
    cutting.backend_tokenizer.enable_truncation(8)
    cutting.backend_tokenizer.enable_padding(length=2000)
    assert Encoder(dialect, cutting, LossWeights()).encode(TRIP) == Encoder(dialect, whole, LossWeights()).encode(TRIP)


def test_a_pickled_tokenizer_templates_and_counts_as_the_bases_own_and_needs_no_torch(
    base_dir: Path, tmp_path: Path
) -> None:
    own = load_tokenizer(base_dir)
    file = tmp_path / "tokenizer.pickle"
    file.write_bytes(pickle.dumps(own))
    there = (
        "import pickle, sys; read = pickle.load(open(sys.argv[1], 'rb'))\n"
        "turns = [{'role': 'user', 'content': 'Oslo?'}]\n"
        "print(read.apply_chat_template(turns, tokenize=False, add_generation_prompt=True), read.eos_token,\n"
        "    read.name_or_path, read.backend_tokenizer.to_str() == sys.argv[2], 'torch' in sys.modules, sep='|')"
    )
    command = [sys.executable, "-c", there, str(file), own.backend_tokenizer.to_str()]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert written == f"<|im_start|>user\nOslo?<|im_end|>\n<|im_start|>assistant\n|<|im_end|>|{base_dir}|True|False\n"
