"""The Berkeley Function Calling Leaderboard's v4 files as rows, and its accepted-values ("AST") rule for Python.

The rule is that of `bfcl-eval` (Apache-2.0), written anew over JSON values, and gives the same verdicts, oddities
included: strings compare without case, spaces and `,./-_*^`; "" among the accepted values marks an optional argument;
a value of the gold's type passes as "a variable" whatever the declared type. Covers simple, multiple, parallel and
irrelevance. A call that crashes `bfcl-eval` is a wrong call here.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from callwright.datasets import files
from callwright.errors import NotFound
from callwright.evaluator.rows import BfclRule, Call, Reading, Row

_PYTHON = {"string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list,
           "dict": dict, "any": str}  # fmt: skip
_JSON_SCHEMA = {"float": "number", "dict": "object", "tuple": "array", "any": "string", "bool": "boolean",
                "list": "array"}  # fmt: skip
_IGNORED = re.compile(r"[ ,./\-_*^]")


def read(path: Path, name: str, reading: Reading) -> Iterator[Row]:
    """Yield the rows of a BFCL file; gold comes from the file of the same name in `possible_answer/` beside it.

    Dots in function names become underscores, as BFCL does for OpenAI endpoints. Raises `NotFound` without the gold,
    which only irrelevance does without.
    """
    answers = path.parent / "possible_answer" / path.name
    irrelevance = "irrelevance" in path.name
    if not irrelevance and not answers.is_file():
        raise NotFound(f"reading {path}: no gold in {answers}; expected BFCL's file of possible answers there")
    gold = (
        {} if irrelevance else {row.value["id"]: row.value["ground_truth"] for row in files.rows(answers) if row.value}
    )
    for line, row, problem, _ in files.rows(path):
        reading.conversations += 1
        if row is None:
            reading.fault(f"{path}:{line}", problem or "no value")
            continue
        if not irrelevance and row.get("id") not in gold:
            reading.without_gold += 1
            continue
        try:
            yield _row(row, gold.get(row["id"], []), name, path.stem)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            reading.fault(f"{path}:{line}", f"{type(error).__name__}: {error}")


def _row(row: dict[str, Any], truth: list[dict[str, Any]], name: str, category: str) -> Row:
    functions = tuple(function | {"name": _dotless(function["name"])} for function in row["function"])
    accepted = tuple({_dotless(called): values for called, values in call.items()} for call in truth)
    tools = tuple({"type": "function", "function": _openai(function)} for function in functions)
    required = {function["name"]: function["parameters"].get("required", ()) for function in functions}
    expected = tuple(
        Call(called, _first(values, required.get(called, ()))) for call in accepted for called, values in call.items()
    )
    return Row(
        name, row["id"], tuple(row["question"][0]), tools, expected, bfcl=BfclRule(functions, accepted, category)
    )


def _dotless(name: str) -> str:
    return name.replace(".", "_")


def _openai(function: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in function.items() if key in ("name", "description")}
    return kept | {"parameters": _schema(function["parameters"])}


def _schema(part: Any) -> Any:
    """Make a BFCL parameter description JSON schema: other names for types, no defaults that are only text."""
    match part:
        case dict():
            made = {key: _schema(value) for key, value in part.items() if key != "optional"}
            if isinstance(part.get("type"), str):
                made["type"] = _JSON_SCHEMA.get(part["type"], part["type"])
            return made
        case list():
            return [_schema(item) for item in part]
        case _:
            return part


def _first(accepted: dict[str, list[Any]], required: Iterable[str]) -> dict[str, Any]:
    """The gold call to show: each argument's first accepted value, optional ones left out."""
    due = {name: values for name, values in accepted.items() if "" not in values or name in required}
    return {name: _plain(next((value for value in values if value != ""), "")) for name, values in due.items()}


def _plain(value: Any) -> Any:
    match value:
        case dict():  # an object's values are lists of accepted values again
            return {k: _plain(v[0]) for k, v in value.items() if isinstance(v, list) and v and "" not in v}
        case list():
            return [_plain(item) if isinstance(item, dict) else item for item in value]
        case _:
            return value


def check(rule: BfclRule, calls: list[dict[str, dict[str, Any]]]) -> str | None:
    """Judge calls, each `{name: arguments}`, by BFCL's rule. Returns None when right, else BFCL's kind of error."""
    if len(calls) != len(rule.accepted):
        return "wrong_count"
    if "parallel" not in rule.category:
        return _fault(_described(rule, 0), calls[0], rule.accepted[0])
    left = list(calls)
    for place, accepted in enumerate(rule.accepted):
        described = _described(rule, place)
        match next((n for n, call in enumerate(left) if _fault(described, call, accepted) is None), None):
            case None:
                return "cannot_find_match"
            case number:
                del left[number]
    return None


def argument_right(rule: BfclRule, place: int, name: str, value: Any) -> bool:
    """Whether one argument of the call at `place` of the gold has an accepted value."""
    (accepted,) = rule.accepted[place].values()
    detail = _described(rule, place)["parameters"]["properties"].get(name)
    return detail is not None and name in accepted and _value_fault(detail, value, accepted[name]) is None


def _described(rule: BfclRule, place: int) -> dict[str, Any]:
    (name,) = rule.accepted[place]
    return next((f for f in rule.functions if f["name"] == name), rule.functions[0])


def _fault(
    function: dict[str, Any], call: dict[str, dict[str, Any]], gold: dict[str, dict[str, list[Any]]]
) -> str | None:
    (accepted,) = gold.values()
    if function["name"] not in call:
        return "wrong_func_name"
    given, details = call[function["name"]], function["parameters"]["properties"]
    if any(name not in given for name in function["parameters"].get("required", ())):
        return "missing_required"
    for name, value in given.items():
        if name not in details or name not in accepted:
            return "unexpected_param"
        if fault := _value_fault(details[name], value, accepted[name]):
            return fault
    if any(name not in given and "" not in values for name, values in accepted.items()):
        return "missing_optional"
    return None


def _value_fault(detail: dict[str, Any], value: Any, accepted: list[Any]) -> str | None:
    declared: Any = _PYTHON.get(detail["type"], str)
    nested: Any = _PYTHON.get(detail["items"]["type"], str) if detail["type"] in ("array", "tuple") else None
    if detail["type"] == "float" and type(value) is int:
        value = float(value)
    gold_type = _type_of(accepted)
    if type(value) is declared:
        if nested and not _items_fit(value, nested, accepted):
            return "type_error:nested"
        variable = gold_type is not None and gold_type is not declared
    elif gold_type is not None and type(value) is gold_type:
        variable = True
    else:
        return "type_error:simple"
    if variable:
        return None if value in accepted else "value_error:others"
    match declared, nested:
        case _ if declared is dict:
            return _object_fault(value, accepted)
        case _ if nested is dict:
            return _objects_fault(value, accepted)
        case _ if declared is str:
            return None if _plain_text(value) in map(_plain_text, accepted) else "value_error:string"
        case _ if declared is list:
            return (
                None
                if _plain_texts(value) in [_plain_texts(gold) for gold in accepted if isinstance(gold, list | str)]
                else "value_error:list/tuple"
            )
        case _:
            return None if value in accepted else "value_error:others"


def _type_of(accepted: list[Any]) -> type | None:
    return next((type(value) for value in accepted if value != ""), None)


def _items_fit(items: list[Any], nested: type, accepted: list[Any]) -> bool:
    """Whether every item has the declared type, or the gold's, for at least one accepted list."""
    return any(
        not isinstance(gold, list) or all(type(item) in (nested, _type_of(gold)) for item in items) for gold in accepted
    )


def _plain_text(value: Any) -> Any:
    return _IGNORED.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value


def _plain_texts(values: Any) -> list[Any]:
    return [_plain_text(value) for value in values]


def _object_fault(value: dict[str, Any], accepted: list[Any]) -> str | None:
    fault: str | None = "dict_checker:unclear"
    for gold in accepted:
        if gold == "":
            continue
        fault = _one_object_fault(value, gold)
        if fault is None:
            return None
    return fault


def _one_object_fault(value: Any, gold: dict[str, list[Any]]) -> str | None:
    if not isinstance(value, dict):
        return "dict_checker:unclear"
    for key, item in value.items():
        if key not in gold:
            return "value_error:dict_key"
        if _plain_text(item) not in map(_plain_text, gold[key]):
            return "value_error:dict_value"
    if any(key not in value and "" not in values for key, values in gold.items()):
        return "value_error:dict_key"
    return None


def _objects_fault(values: list[Any], accepted: list[Any]) -> str | None:
    fault: str | None = "list_dict_checker:unclear"
    for gold in accepted:
        if len(values) != len(gold):
            fault = "value_error:list_dict_count"
            continue
        fault = next((f for v, g in zip(values, gold, strict=True) if (f := _object_fault(v, [g]))), None)
        if fault is None:
            return None
    return fault
