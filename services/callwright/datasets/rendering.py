"""A base's chat template, with the keyword arguments that training fixes, and the texts that it makes of messages.

The manifest of a trained version carries the arguments and the template's digest, so that serving renders alike. A
template that asks for today's date is given one date, or refused. Knows nothing of contents, tokens or weights.
"""

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NoReturn

from callwright.datasets.tokenizer import Message, Tokenizer
from callwright.errors import InvalidInput

DATE = "date_string"
"""The argument in which templates take the date that they print."""
_FIXED_DATE = date(2024, 7, 26)  # Llama 3.1's own
_CLOCK = "strftime_now"
_OWN = (
    "messages", "tools", "documents", "conversation", "chat_template", "tokenize", "padding", "truncation",
    "max_length", "add_generation_prompt", "continue_final_message", "return_tensors", "return_dict",
    "tokenizer_kwargs", _CLOCK,
)  # fmt: skip
"""Arguments that rendering itself gives."""
_FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a template's own program raises, beside jinja2's errors."""
HELLO: list[Message] = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello."}]
"""What every template must hold."""
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
"""What a template is given that writes tools."""


Tools = Sequence[Mapping[str, Any]]
"""OpenAI tools, for a template that writes them."""


class RefusedError(Exception):
    """The template or the dialect cannot hold this conversation: an order of roles, or a content that is rewritten."""


class _AsksForDateError(Exception):
    """The template has asked what day it is."""


class Renderer:
    """A tokenizer's chat template with fixed keyword arguments.

    `with_tools`: the template is given tools. Raises `InvalidInput` for a base without a template, a template that no
    conversation gets through or that prints today's date, and arguments that it does not take.
    """

    def __init__(
        self, tokenizer: Tokenizer, arguments: Mapping[str, Any] | None = None, *, with_tools: bool = False
    ) -> None:
        from jinja2 import TemplateError

        self._tokenizer = tokenizer
        self._faults = (
            TemplateError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        )
        self.name = tokenizer.name_or_path or "the base"
        try:
            # Of several templates that have names, transformers takes `tool_use` where there are tools.
            self._template = str(tokenizer.get_chat_template(tools=[{}] if with_tools else None))
        except ValueError as error:
            raise InvalidInput(
                f"encoding: no chat template in {self.name}: {error}; take an instruction-tuned base or add a template"
            ) from None
        self.arguments = dict(arguments or {})
        """What the template gets besides messages; the date that it is given included."""
        self._check_arguments()
        self._probe(None)
        if with_tools:
            with contextlib.suppress(RefusedError):  # it may refuse tools, or have none to show
                self._probe([TOOL])

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the template."""
        return hashlib.sha256(self._template.encode()).hexdigest()

    def text(
        self, messages: Sequence[Message], *, prompt: bool = False, goes_on: bool = False, tools: Tools | None = None
    ) -> str:
        """Return the text of `messages`: with `prompt` up to where the model takes over, with `goes_on` within the last
        one.

        Raises `RefusedError` for messages that the template refuses.
        """
        try:
            return self._render(messages, prompt=prompt, goes_on=goes_on, tools=tools)
        except _AsksForDateError:
            raise RefusedError(f"the chat template of {self.name} prints today's date in it") from None
        except self._faults as error:
            roles = ", ".join(message["role"] for message in messages)
            raise RefusedError(f"the chat template of {self.name} refuses the roles {roles}: {_told(error)}") from None

    def _render(
        self, messages: Sequence[Message], *, prompt: bool = False, goes_on: bool = False, tools: Tools | None = None
    ) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=prompt, continue_final_message=goes_on,
                tools=list(tools) if tools else None, **{_CLOCK: _no_date, **self.arguments},
            )
        )  # fmt: skip

    def _check_arguments(self) -> None:
        for name in self.arguments:
            if name in _OWN or not re.search(rf"\b{re.escape(name)}\b", self._template):
                raise InvalidInput(
                    f"base.templateArguments.{name}: the chat template of {self.name} takes no such argument; "
                    "correct the name or leave it out"
                )

    def _probe(self, tools: Tools | None) -> None:
        """Render a first conversation. Raises `RefusedError` where the tools alone are refused."""
        try:
            self._render(HELLO, tools=tools)
        except _AsksForDateError as error:
            self._fix_date(str(error), tools)
        except self._faults as error:
            if tools:
                raise RefusedError(_told(error)) from None
            line = getattr(error, "lineno", None)
            where = f", line {line}" if line else ""
            raise InvalidInput(
                f"encoding: the chat template of {self.name} fails{where}: {_told(error)}; mend the template"
            ) from None

    def _fix_date(self, form: str, tools: Tools | None) -> None:
        """Give the template a date that is the same every day. Raises `InvalidInput` where it takes none."""
        self.arguments[DATE] = _FIXED_DATE.strftime(form)
        try:
            self._render(HELLO, tools=tools)
        except _AsksForDateError:
            raise InvalidInput(
                f"encoding: the chat template of {self.name} prints today's date: the model would be served another "
                f"prompt every day than it was trained on; write a date in place of {_CLOCK}({form!r}) in the template"
            ) from None


def _no_date(form: str) -> NoReturn:
    raise _AsksForDateError(form)


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
