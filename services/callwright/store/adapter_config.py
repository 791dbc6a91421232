"""What a PEFT LoRA adapter's `adapter_config.json` says: of each module's rank and scale, and of how it was trained.

Merger and server read it by this model. A value that PEFT would take for something else, or fail on, is refused by file
and key. Keys that are no field here are kept aside: what they mean is the reader's question.
"""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, PositiveInt, ValidationError

from callwright.errors import InvalidInput, NotFound
from callwright.store.documents import read_file
from callwright.store.regular_expressions import ends_soon

FILE = "adapter_config.json"


_ENDLESS = "a regular expression that is matched soon: with fewer repeats, and none of what repeats or may differ"
_LONGEST_NAME = 256
"""Characters of a module's name that a pattern is matched with."""


def _matching(pattern: str) -> str:
    """Return the pattern. Raises `ValueError` for one that can't be compiled, or be matched in a time that can be
    told.
    """
    try:
        re.compile(rf"(.*\.)?({pattern})$")
        is_quick = ends_soon(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"a regular expression, but {error}") from None
    if not is_quick:
        raise ValueError(_ENDLESS)
    return pattern


T = TypeVar("T")
Pattern = Annotated[str, AfterValidator(_matching)]


class AdapterConfig(BaseModel):
    """A LoRA adapter's configuration, by PEFT's names and with PEFT's defaults."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)

    peft_type: str | None = None
    r: PositiveInt = 8
    lora_alpha: float = 8
    rank_pattern: dict[Pattern, PositiveInt] = {}
    alpha_pattern: dict[Pattern, float] = {}
    use_rslora: bool | None = None
    use_dora: bool | None = None
    lora_bias: bool | None = None
    fan_in_fan_out: bool | None = None
    ensure_weight_tying: bool | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    init_lora_weights: bool | str | None = None
    modules_to_save: list[Pattern] | None = None
    target_modules: Pattern | list[str] | None = None
    exclude_modules: Pattern | list[str] | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: Pattern | list[Pattern] | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the configuration in an adapter's folder. Raises `NotFound` and `InvalidInput`."""
        path = folder / FILE
        try:
            return cls.model_validate_json(read_file(path))
        except NotFound:
            raise NotFound(f"reading the adapter: no file {path}; expected an adapter in PEFT's layout") from None
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            # A pattern stands below its field; what stands below another one is a member of a union, or of a list.
            key = ".".join(
                map(str, fault["loc"][: 2 if fault["loc"][:1] in (("rank_pattern",), ("alpha_pattern",)) else 1])
            )
            expected = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            got = f"{key}: got {fault['input']!r:.60}; expected {expected}" if key else expected
            raise InvalidInput(f"reading the adapter: {path}: {got}; save the adapter anew, or mend the file") from None

    @property
    def others(self) -> dict[str, Any]:
        """The keys that are no field here, with their values."""
        return dict(self.model_extra or {})

    @property
    def max_rank(self) -> int:
        """The largest rank that a module of the adapter may have."""
        return max(self.r, *self.rank_pattern.values()) if self.rank_pattern else self.r

    def rank(self, module: str) -> int:
        """Return the rank of one module."""
        return _by_pattern(self.rank_pattern, module, self.r)

    def scale(self, module: str) -> float:
        """Return what the product B·A of one module is multiplied by."""
        alpha, rank = _by_pattern(self.alpha_pattern, module, self.lora_alpha), self.rank(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


def _by_pattern(patterns: dict[str, T], module: str, default: T) -> T:
    """Return the value of the first pattern that matches the module's name or its end, as PEFT chooses.

    Raises `InvalidInput` for what is too long to be a module's name.
    """
    if patterns and len(module) > _LONGEST_NAME:
        raise InvalidInput(
            f"reading the adapter: a module's name has {len(module)} characters; expected at most {_LONGEST_NAME}"
        )
    return next((v for pattern, v in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module)), default)
