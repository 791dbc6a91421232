"""The Berkeley Function Calling Leaderboard's rule for right calls: each argument has one of its accepted values.

The rule is the AST rule for Python of `bfcl-eval` (Apache-2.0), written anew over JSON values, and gives the same
verdicts, oddities included: strings compare without case, spaces and `,./-_*^`; "" among the accepted values marks an
optional argument; a value of the gold's type passes as "a variable" whatever the declared type. It covers the
categories simple, multiple and parallel. A call that crashes `bfcl-eval` is a wrong call here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from callwright.datasets.formats.bfcl import GoldCall
from callwright.dialects.schema_types import ANY, PYTHON_TYPES, json_type

_TYPES = PYTHON_TYPES | {ANY: str}
_IGNORED = re.compile(r"[ ,./\-_*^]")


@dataclass(frozen=True, slots=True)
class Parameter:
    """The Python type that a parameter declares, and its items' where it is a list."""

    kind: type
    items: type | None


@dataclass(frozen=True, slots=True)
class AcceptedCall:
    """One call of BFCL's gold, with the types of its function's parameters."""

    gold: GoldCall
    parameters: dict[str, Parameter]

    @classmethod
    def read(cls, gold: GoldCall, function: dict[str, Any] | None) -> "AcceptedCall":
        """Return a call of a function as BFCL declares it. Raises `ValueError` for what the rule cannot judge by."""
        if function is None:
            raise ValueError(f"the gold calls {gold.name}: got no such function; expected one that the row declares")
        properties = function["parameters"]["properties"]
        parameters = {name: _parameter(f"{gold.name}: {name}", declared) for name, declared in properties.items()}
        for name, values in gold.accepted.items():
            objects = [item for value in values for item in (value if isinstance(value, list) else [value])]
            if not all(isinstance(v, list) for item in objects if isinstance(item, dict) for v in item.values()):
                got = f"{gold.name}: {name}: got {values!r:.80}"
                raise ValueError(f"{got}; expected lists of accepted values in its objects")
        return cls(gold, parameters)

    def accepts(self, name: str, arguments: dict[str, Any]) -> bool:
        """Return whether a call matches this one."""
        return (
            name == self.gold.name
            and all(key in arguments for key in self.gold.required)
            and all(self.accepts_argument(key, value) for key, value in arguments.items())
            and all(key in arguments or "" in values for key, values in self.gold.accepted.items())
        )

    def accepts_argument(self, name: str, value: Any) -> bool:
        """Return whether one argument has an accepted value."""
        accepted = self.gold.accepted
        return name in self.parameters and name in accepted and _fits(self.parameters[name], value, accepted[name])


def accepts(gold: Sequence[AcceptedCall], calls: Sequence[tuple[str, dict[str, Any]]]) -> bool:
    """Return whether the calls, each a name and its arguments, are those of the gold, in any order."""
    left = list(calls)
    for wanted in gold:
        found = next((place for place, call in enumerate(left) if wanted.accepts(*call)), None)
        if found is None:
            return False
        del left[found]
    return not left


def _parameter(where: str, declared: Any) -> Parameter:
    kind = _type(where, declared)
    return Parameter(kind, _type(f"{where}: items", declared.get("items")) if kind is list else None)


def _type(where: str, declared: Any) -> type:
    name = declared.get("type") if isinstance(declared, dict) else None
    found = _TYPES.get(json_type(name)) if isinstance(name, str) else None
    if found is None:
        got = f"type {name!r:.40}" if name is not None else "no type"
        raise ValueError(f"{where}: got {got}; expected one of {', '.join(_TYPES)}, or another name of these")
    return found


def _fits(parameter: Parameter, value: Any, accepted: list[Any]) -> bool:
    given = float if parameter.kind is float and type(value) is int else type(value)
    gold_type = _type_of(accepted)
    if given is not parameter.kind:
        return given is gold_type and value in accepted
    if parameter.items and not _items_fit(value, parameter.items, accepted):
        return False
    if gold_type not in (None, given):
        return value in accepted
    if given is dict:
        return _object_accepted(value, accepted)
    if parameter.items is dict:
        return any(_objects_accepted(value, gold) for gold in accepted)
    if given is str:
        return _plain(value) in map(_plain, accepted)
    if given is list:
        return [*map(_plain, value)] in [[*map(_plain, gold)] for gold in accepted if isinstance(gold, list | str)]
    return value in accepted


def _type_of(accepted: list[Any]) -> type | None:
    return next((type(value) for value in accepted if value != ""), None)


def _items_fit(items: list[Any], declared: type, accepted: list[Any]) -> bool:
    """Return whether every item has the declared type, or the gold's, for at least one accepted list."""
    return any(
        not isinstance(gold, list) or all(type(item) in (declared, _type_of(gold)) for item in items)
        for gold in accepted
    )


def _object_accepted(value: Any, accepted: list[Any]) -> bool:
    return isinstance(value, dict) and any(
        all(key in gold and _plain(item) in map(_plain, gold[key]) for key, item in value.items())
        and all(key in value or "" in values for key, values in gold.items())
        for gold in accepted
        if isinstance(gold, dict)
    )


def _objects_accepted(values: list[Any], gold: Any) -> bool:
    return (
        isinstance(gold, list)
        and len(values) == len(gold)
        and all(_object_accepted(value, [wanted]) for value, wanted in zip(values, gold, strict=True))
    )


def _plain(value: Any) -> Any:
    return _IGNORED.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value
