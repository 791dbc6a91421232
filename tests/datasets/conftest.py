"""A tiny base for encoding: a byte-level BPE tokenizer, trained here, with a ChatML template."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from talk import CHATML

TEXT = [
    "Answer the following questions as best you can. You have access to the following APIs:",
    "Thought: you should always think about what to do\nAction: the action to take\nAction Input: the input",
    "Observation: the result of the action\nThought: I now know the final answer\nFinal Answer: it is done.",
    '{"name": "city", "description": "string. The city.", "required": "True"}',
    "使用以下格式回答：你拥有如下工具，今天天气怎么样？",
]


@pytest.fixture(scope="session")
def make_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a base's folder with a tokenizer and the chat template that it is given."""

    def make(template: str | None = CHATML) -> Path:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=700,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(TEXT * 4, trainer)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
        fast.chat_template = template
        folder = tmp_path_factory.mktemp("base")
        fast.save_pretrained(folder)
        (folder / "config.json").write_text('{"model_type": "qwen2"}')
        return folder

    return make


@pytest.fixture(scope="session")
def base_dir(make_base: Callable[..., Path]) -> Path:
    """A base with a ChatML template."""
    return make_base()


@pytest.fixture(scope="session")
def tokenizer(base_dir: Path) -> Any:
    """Its tokenizer, as the stage loads it."""
    from callwright.datasets.tokenizer import load_tokenizer

    return load_tokenizer(base_dir)
