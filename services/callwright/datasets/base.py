"""A base's tokenizer: read once as transformers reads it, then handed to other processes, which need no torch for it.

Owns the folder that it is handed over in. Knows no conversation and no dialect.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from callwright.errors import InvalidInput, NotFound

Message = dict[str, Any]
_TOKENIZER, _CHAT = "tokenizer.json", "chat.json"


class Tokenizer(Protocol):
    """What encoding needs of a transformers tokenizer: a fast one, with a chat template."""

    name_or_path: str
    eos_token: str | None

    @property
    def backend_tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer`."""

    def get_added_vocab(self) -> dict[str, int]:
        """Special and other added tokens."""

    def apply_chat_template(
        self, conversation: list[Message], *, tokenize: bool = ..., add_generation_prompt: bool = ...
    ) -> Any:
        """The template's text when `tokenize` is False. Raises `ValueError` where there is no template."""


def load_tokenizer(base_dir: Path) -> Tokenizer:
    """The base's own tokenizer. Raises `NotFound` for no folder and `InvalidInput` for one without a fast tokenizer."""
    if not base_dir.is_dir():
        raise NotFound(f"loading the tokenizer: no folder {base_dir}; expected a model with tokenizer.json")
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(base_dir, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"loading the tokenizer: {base_dir} has none that can be read: {error}") from None
    if not tokenizer.is_fast:
        raise InvalidInput(f"loading the tokenizer: got a slow one in {base_dir}; expected tokenizer.json")
    loaded: Tokenizer = tokenizer
    return loaded


def hand_over(base_dir: Path, folder: Path) -> Path:
    """Write the base's tokenizer to `folder` for `HandedOver`; return `folder`. Raises as `load_tokenizer` does."""
    tokenizer: Any = load_tokenizer(base_dir)
    folder.mkdir()
    tokenizer.backend_tokenizer.save(str(folder / _TOKENIZER), pretty=False)
    chat = {"name": tokenizer.name_or_path, "eos": tokenizer.eos_token}
    chat["special"] = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    try:
        chat["template"] = tokenizer.get_chat_template()
    except ValueError as error:
        chat["problem"] = str(error)
    (folder / _CHAT).write_text(json.dumps(chat), encoding="utf-8")
    return folder


class HandedOver:
    """A `Tokenizer` from the folder that `hand_over` wrote; templates render with transformers' own function."""

    def __init__(self, folder: Path) -> None:
        chat = json.loads((folder / _CHAT).read_text(encoding="utf-8"))
        self.name_or_path: str = chat["name"]
        self.eos_token: str | None = chat["eos"]
        self._path = folder / _TOKENIZER
        self._special: dict[str, str] = chat["special"]
        self._template: str | None = chat.get("template")
        self._problem: str = chat.get("problem", "")

    @cached_property
    def backend_tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer`."""
        from tokenizers import Tokenizer as Backend

        return Backend.from_file(str(self._path))

    def get_added_vocab(self) -> dict[str, int]:
        """Special and other added tokens."""
        return {
            token.content: identity for identity, token in self.backend_tokenizer.get_added_tokens_decoder().items()
        }

    def apply_chat_template(
        self, conversation: list[Message], *, tokenize: bool = False, add_generation_prompt: bool = False
    ) -> str:
        """The template's text. Raises `ValueError` where there is no template."""
        from transformers.utils.chat_template_utils import render_jinja_template

        if self._template is None:
            raise ValueError(self._problem)
        texts, _ = render_jinja_template(
            conversations=[conversation],
            chat_template=self._template,
            add_generation_prompt=add_generation_prompt,
            **self._special,
        )
        return str(texts[0])
