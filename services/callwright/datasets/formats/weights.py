"""How much the turns of a row count in the loss, where the row says it: `weight`, `train`, `loss` and their kin.

In neutral form that is `weight`, as in OpenAI's: a factor to the weights of the turn's tokens, 1 where none stands. A
row's own holds for all of its turns. What only some programs understand, such as parts of a turn, is refused.
"""

import math
import re
from typing import Any

from callwright.datasets.conversation import JSON
from callwright.datasets.formats.row import RowError

_FACTORS = ("weight", "loss_weight", "loss_scale")
_FLAGS = ("train", "training", "trainable", "loss", "loss_mask")
_NOTHING = (None, "")
_WORDS = {"true": 1.0, "false": 0.0}
_MEANT: dict[str, tuple[object, ...]] = {
    "mask": ("user", "human"),
    "masked": (),
    "mask_history": (False,),
    "train_on_inputs": (False,),
    "train_on_prompt": (False,),
    "train_detail": (),
}
"""Fields that are not read, each with the values that ask for what is done anyway."""


_READ = {*_FACTORS, *_FLAGS, *_MEANT}
_OF_LOSS = re.compile(r"(?:\A|[_-]|(?<=[a-z])(?=[A-Z]))(?i:loss|train(?:able|ing|ed)?|mask(?:ed)?|weights?\b)(?![a-z])")
"""Other names of a turn's fields that speak of its loss: `no_loss`, `isTrain`; not `constraint`."""


def read_weight(said: JSON, where: str) -> float | None:
    """Return the product of what a row or turn says of its loss; None where it says nothing. Raises `RowError`."""
    for name, meant in _MEANT.items():
        value = said.get(name)
        if value not in _NOTHING and (value.lower() if isinstance(value, str) else value) not in meant:
            raise RowError(
                "weight", f"{where}{name}: got {value!r:.80}; expected weight, a number from 0, at each assistant turn"
            )
    for name in filter(_OF_LOSS.search, said.keys() - _READ if where else ()):
        if said[name] not in _NOTHING:
            raise RowError("weight", f"{where}{name}: got {said[name]!r:.80}; expected weight, a number from 0")
    given = {name: said.get(name) for name in (*_FACTORS, *_FLAGS)}
    found = [_number(value, f"{where}{name}", name) for name, value in given.items() if value not in _NOTHING]
    return math.prod(found) if found else None


def weighted(message: JSON, weight: float | None) -> JSON:
    """Return the message with the weight that its turn was given, where that is not what its role has anyway."""
    usual = 1.0 if message["role"] == "assistant" else 0.0
    return message if weight is None or weight == usual else {**message, "weight": _plain(weight)}


def weighted_turn(messages: list[JSON], role: str, weight: float | None) -> list[JSON]:
    """Return the messages that a turn of that role makes, with its weight; not the results in an assistant's text."""
    mine = role == "assistant"
    return [weighted(m, weight) if not mine or m["role"] == "assistant" else m for m in messages]


def scaled(message: JSON, factor: float) -> JSON:
    """Return the assistant's message with its weight multiplied."""
    if factor == 1 or message["role"] != "assistant":
        return message
    return {**message, "weight": _plain(message.get("weight", 1.0) * factor)}


def _plain(weight: float) -> float:
    """0 and 1 as OpenAI takes them, as integers."""
    return int(weight) if weight.is_integer() else weight


def _number(value: Any, where: str, name: str) -> float:
    try:
        number = _WORDS.get(value.strip().lower()) if isinstance(value, str) else None
        number = float(value) if number is None else number
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if name in _FLAGS and number not in (0, 1):
        raise RowError("weight", f"{where}: got {value!r:.80}; expected true or false; weight takes other numbers")
    if not 0 <= number < math.inf:
        raise RowError("weight", f"{where}: got {value!r:.80}; expected a number from 0")
    return number
