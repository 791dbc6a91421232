"""Train the demo's base model from scratch on `base_text`: BPE tokenizer with a ChatML template, then a small Qwen2.

    python -m callwright.demo.pretrain --out build/base

Seeded and re-runnable, and it carries on after a course that is whole. The courses follow one another: plain layouts
until copying has been learned, then ever new layouts, then clear requests, longer ones, and what words are about. Muon
trains the matrices and AdamW the rest (Jordan et al. 2024, as in `torch.optim.Muon`). Only the assistant's words are
predicted, and a share of the documents repeats random tokens, so that every token of the vocabulary can be told apart
and copied. The shipped weights went through these courses while the text was still being written: a new run makes a
base like it, not the same bytes.
"""

import argparse
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from callwright.demo.base_text import Text, chats
from callwright.demo.phrases import Chat
from callwright.demo.words import WORDS
from callwright.store.model_folder import WITHOUT_CODE

_LOG_STEPS = 20
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] or '' }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Capitals, digits and signs never join the space before them, so that a value is the same tokens wherever it stands;
# only JSON's own punctuation is joined.
_PIECES = (
    r" ?[a-z]+|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\p{N}{1,2}"
    r'|": "|", "| ?\[\{"| ?\{"|"\}\]|"\}|":|",| "|\n+|\p{L}+|[^\s\p{L}\p{N}]|\s'
)


@dataclass(frozen=True)
class Recipe:
    """Everything that the result depends on."""

    seed: int = 7
    vocabulary: int = 2560
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    mlp: int = 512
    matrix_learning_rate: float = 3e-3
    other_learning_rate: float = 3e-3
    warmup_steps: int = 60
    final_share: float = 0.35
    """Share of the steps, at the end, in which the learning rate falls to nothing."""
    repeat_share: float = 0.12
    """Share of the documents that repeat random tokens."""


@dataclass(frozen=True)
class Course:
    """One stretch of training, with a learning rate that rises and falls anew."""

    text: Text
    steps: int
    row_tokens: int
    """Tokens of a row, and so the longest distance that can be learned."""
    rows_per_step: int


COURSES = (
    Course("plain", steps=1500, row_tokens=512, rows_per_step=12),
    Course("varied", steps=800, row_tokens=512, rows_per_step=12),
    Course("clear", steps=700, row_tokens=512, rows_per_step=12),
    Course("clear", steps=600, row_tokens=1024, rows_per_step=8),
    Course("about", steps=900, row_tokens=1024, rows_per_step=8),
    Course("bare", steps=700, row_tokens=1024, rows_per_step=8),
)


def train_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """Byte-level BPE over generated chats, with ChatML as its template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample = (text for chat in itertools.islice(chats(recipe.seed + 1), 6000) for _, text in chat)
    words = (f"{word.capitalize()} {word}" for word in WORDS for _ in range(40))
    tokenizer.train_from_iterator(itertools.chain(sample, words), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )


def rows(
    recipe: Recipe, course: Course, tokenizer: PreTrainedTokenizerFast, *, seed: int
) -> Iterator[tuple[list[int], list[float]]]:
    """Yield rows of `row_tokens` token ids with the loss weight of each, packed from chats and repeats, without end."""
    rng, stream = random.Random(seed), chats(seed, course.text)
    ids: list[int] = []
    weights: list[float] = []
    while True:
        if rng.random() < recipe.repeat_share:
            _append(_repeat_tokens(rng, recipe.vocabulary), ids, weights)
        else:
            _append(encode_chat(next(stream), tokenizer), ids, weights)
        while len(ids) >= course.row_tokens:
            yield ids[: course.row_tokens], weights[: course.row_tokens]
            # A conversation is never continued in the next row, whose start it could not see.
            ids, weights = [], []


def _append(piece: tuple[list[int], list[float]], ids: list[int], weights: list[float]) -> None:
    ids.extend(piece[0])
    weights.extend(piece[1])


def _repeat_tokens(rng: random.Random, vocabulary: int) -> tuple[list[int], list[float]]:
    span = [rng.randrange(len(SPECIAL), vocabulary) for _ in range(rng.randint(6, 40))]
    between = [rng.randrange(len(SPECIAL), vocabulary) for _ in range(rng.randint(0, 20))]
    return span + between + span, [0.0] * (len(span) + len(between) + 1) + [0.5] * (len(span) - 1)


def encode_chat(chat: Chat, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[float]]:
    """Token ids of a chat in ChatML, and their weights: 1 for the assistant's words and the end of its turn."""
    ids: list[int] = []
    weights: list[float] = []
    for role, text in chat:
        head = tokenizer.encode(f"<|im_start|>{role}\n", add_special_tokens=False)
        body = tokenizer.encode(f"{text}<|im_end|>", add_special_tokens=False)
        tail = tokenizer.encode("\n", add_special_tokens=False)
        spoken = 1.0 if role == "assistant" else 0.0
        ids += head + body + tail
        weights += [0.0] * len(head) + [spoken] * len(body) + [0.0] * len(tail)
    return ids, weights


def build_model(recipe: Recipe) -> Qwen2ForCausalLM:
    """Return a Qwen2 with tied embeddings and fresh weights."""
    torch.manual_seed(recipe.seed)
    config = Qwen2Config(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.mlp,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=SPECIAL.index("<|im_end|>"),
        pad_token_id=SPECIAL.index("<|endoftext|>"),
        attn_implementation="sdpa",
    )
    return Qwen2ForCausalLM(config)


def pretrain(recipe: Recipe, out: Path, courses: Sequence[Course] = COURSES) -> None:
    """Train on one course after the other, from fresh weights; tokenizer and weights of the last are in `out`.

    Every course that is whole stays beside it, in `<out>-<number>`, and a new run goes on after the last of them.
    """
    done = [number for number in range(1, len(courses) + 1) if (_stage(out, number) / "recipe.json").is_file()]
    if done:
        folder = _stage(out, done[-1])
        tokenizer = AutoTokenizer.from_pretrained(folder, **WITHOUT_CODE)
        model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    else:
        tokenizer, model = train_tokenizer(recipe), build_model(recipe)
    for number, course in list(enumerate(courses, 1))[len(done) :]:
        seed = recipe.seed + 1 + number
        for line in _train(model, recipe, course, rows(recipe, course, tokenizer, seed=seed)):
            print(json.dumps({"course": number, "text": course.text, **line}), flush=True)
        _save(model, tokenizer, recipe, courses, _stage(out, number))
    _save(model, tokenizer, recipe, courses, out)


def _stage(out: Path, number: int) -> Path:
    return out.with_name(f"{out.name}-{number}")


def _train(
    model: Qwen2ForCausalLM, recipe: Recipe, course: Course, stream: Iterator[tuple[list[int], list[float]]]
) -> Iterator[dict[str, float]]:
    """Train `model` in place on one course; yields a line of figures now and then."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = torch.optim.Muon(matrices, lr=recipe.matrix_learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(others, lr=recipe.other_learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    started, seen = time.monotonic(), 0
    for step in range(1, course.steps + 1):
        scale = min(1.0, step / recipe.warmup_steps, (course.steps - step + 1) / (course.steps * recipe.final_share))
        for optimizer, rate in ((muon, recipe.matrix_learning_rate), (adamw, recipe.other_learning_rate)):
            optimizer.param_groups[0]["lr"] = rate * scale
        batch = list(itertools.islice(stream, course.rows_per_step))
        ids, weights = torch.tensor([b[0] for b in batch]), torch.tensor([b[1] for b in batch])
        loss, hits = _loss(model, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in (muon, adamw):
            optimizer.step()  # type: ignore[no-untyped-call]
            optimizer.zero_grad(set_to_none=True)
        seen += ids.numel()
        if step % _LOG_STEPS == 0 or step == course.steps:
            seconds = time.monotonic() - started
            yield {
                "step": step, "steps": course.steps, "loss": round(loss.item(), 4),
                "assistant_token_accuracy": round(hits.item(), 4), "tokens": seen, "seconds": round(seconds),
                "tokens_per_second": round(seen / seconds),
            }  # fmt: skip


def _save(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, courses: Sequence[Course], out: Path
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    copy = Qwen2ForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    written = {**asdict(recipe), "courses": [asdict(course) for course in courses]}
    (out / "recipe.json").write_text(json.dumps(written, indent=2) + "\n")


def _loss(model: Qwen2ForCausalLM, ids: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean cross-entropy of the next token, and the share of assistant tokens guessed right.

    ids, weights: (rows, tokens). Logits are computed only where the weight is not 0.
    """
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    chosen = weights[:, 1:] > 0
    targets, weights = ids[:, 1:][chosen], weights[:, 1:][chosen]
    logits = model.lm_head(hidden[chosen])
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    spoken = weights == 1.0
    hits = (logits.detach()[spoken].argmax(-1) == targets[spoken]).float().mean()
    return (losses * weights).sum() / weights.sum().clamp(min=1.0), hits


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and tokenizer")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value}")
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    pretrain(Recipe(**arguments), out)


if __name__ == "__main__":
    main()
