"""Outputs a model might give to BFCL's rows, right and wrong in many ways, and `bfcl-eval`'s verdicts on them.

`bfcl_verdicts.json` holds the verdicts of `bfcl-eval`, one character an output (1 right, 0 wrong or a crash), so that
the tests need not install its many dependencies. To record it again: `pip install --no-deps bfcl-eval==2026.3.23` and
`python tests/evaluator/bfcl_outputs.py ../shared/data/bfcl`. Only the checker's own module is loaded.
"""

import copy
import importlib
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

CATEGORIES = ("simple_python", "multiple", "parallel")
VERDICTS = Path(__file__).with_name("bfcl_verdicts.json")

Calls = list[dict[str, dict[str, Any]]]
Gold = list[dict[str, dict[str, list[Any]]]]


def rows(folder: Path, category: str) -> Iterator[tuple[dict[str, Any], Gold]]:
    """Each row of a category with its possible answers, dots in names replaced."""
    name = f"BFCL_v4_{category}.json"
    answers = (folder / "possible_answer" / name).read_bytes().splitlines()
    for line, answer in zip((folder / name).read_bytes().splitlines(), answers, strict=True):
        gold = json.loads(answer)["ground_truth"]
        yield json.loads(line), [{n.replace(".", "_"): values for n, values in call.items()} for call in gold]


def outputs(row: dict[str, Any], gold: Gold) -> Iterator[Calls]:
    """Outputs to judge, the same ones in every process."""
    chance = random.Random(row["id"])
    shortest, fullest = _chosen(gold, full=False), _chosen(gold, full=True)
    yield shortest
    yield fullest
    yield _chosen(gold, full=True, last=True)
    for change in (str.upper, lambda s: f" {s.replace(' ', '-')}.", lambda s: s.replace("'", '"'), lambda s: s + "x"):
        yield _mapped(fullest, lambda v, change=change: change(v) if isinstance(v, str) else v)
    for change in (_number_as_other, _number_as_text, _flipped, _shuffled, _shortened, _nulled, _text_as_number):
        yield _mapped(fullest, change)
    for change in (_dropped, _extra, _renamed, _swapped, _foreign, _keyed):
        made = copy.deepcopy(fullest)
        change(made, chance)
        yield made
    yield fullest[::-1]
    yield fullest + fullest[:1]
    yield fullest[1:]
    yield []


def _chosen(gold: Gold, *, full: bool, last: bool = False) -> Calls:
    def one(values: list[Any]) -> Any:
        real = [value for value in values if value != ""]
        return _plain(real[-1 if last else 0]) if real else ""

    return [
        {name: {key: one(values) for key, values in given.items() if full or "" not in values}}
        for call in gold
        for name, given in call.items()
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item[0]) if isinstance(item, list) and item else item for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) if isinstance(item, dict) else item for item in value]
    return value


def _mapped(calls: Calls, change: Callable[[Any], Any]) -> Calls:
    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        value = change(value)
        return [walk(item) for item in value] if isinstance(value, list) else value

    return [{name: walk(given) for name, given in call.items()} for call in calls]


def _number_as_other(value: Any) -> Any:
    if type(value) is int:
        return float(value)
    return int(value) if isinstance(value, float) and value == int(value) else value


def _number_as_text(value: Any) -> Any:
    return str(value) if type(value) in (int, float) else value


def _text_as_number(value: Any) -> Any:
    return len(value) if isinstance(value, str) else value


def _flipped(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return bool(value) if type(value) is int else value


def _shuffled(value: Any) -> Any:
    return value[::-1] if isinstance(value, list) else value


def _shortened(value: Any) -> Any:
    return value[:-1] if isinstance(value, list) else value


def _nulled(value: Any) -> Any:
    return [None, *value[1:]] if isinstance(value, list) and value else value


def _given(made: Calls, chance: random.Random) -> dict[str, Any]:
    return chance.choice([given for call in made for given in call.values()])


def _dropped(made: Calls, chance: random.Random) -> None:
    given = _given(made, chance)
    if given:
        del given[chance.choice(sorted(given))]


def _extra(made: Calls, chance: random.Random) -> None:
    _given(made, chance)["made_up"] = 1


def _renamed(made: Calls, chance: random.Random) -> None:
    place = chance.randrange(len(made))
    made[place] = {f"{name}_2": given for name, given in made[place].items()}


def _swapped(made: Calls, chance: random.Random) -> None:
    given = _given(made, chance)
    keys = sorted(given)
    given.update(zip(keys, [given[key] for key in keys[1:] + keys[:1]], strict=True))


def _foreign(made: Calls, chance: random.Random) -> None:
    given = _given(made, chance)
    if given:
        given[chance.choice(sorted(given))] = chance.choice(["", [], {}, None, 0, [[]], [{}], {"a": [1]}, "none", -1.5])


def _keyed(made: Calls, chance: random.Random) -> None:
    for given in (given for call in made for given in call.values()):
        for value in given.values():
            inner = value[0] if isinstance(value, list) and value else value
            if isinstance(inner, dict):
                inner.pop(sorted(inner)[0], None) if inner and chance.random() < 0.5 else inner.update(made_up=1)


def load_checker() -> Callable[[dict[str, Any], Calls, Gold, str], bool]:
    """`bfcl-eval`'s AST checker; what it imports for other languages and for models is left out."""
    package = "bfcl_eval.constants.model_config"
    config = ModuleType(package)
    config.MODEL_CONFIG_MAPPING = {"m": SimpleNamespace(underscore_to_dot=True)}  # type: ignore[attr-defined]
    sys.modules[package] = config
    for language in ("java", "js"):
        name = f"bfcl_eval.eval_checker.ast_eval.type_convertor.{language}_type_converter"
        sys.modules[name] = ModuleType(name)
        setattr(sys.modules[name], f"{language}_type_converter", None)
    checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
    python = importlib.import_module("bfcl_eval.constants.enums").Language.PYTHON

    def judge(row: dict[str, Any], calls: Calls, gold: Gold, category: str) -> bool:
        try:
            verdict = checker.ast_checker(row["function"], copy.deepcopy(calls), gold, python, category, "m")
        except (AttributeError, TypeError, KeyError, IndexError):
            return False
        return bool(verdict["valid"])

    return judge


def record(folder: Path) -> dict[str, str]:
    """`bfcl-eval`'s verdicts on every output of every row, a string of 0 and 1 for each category."""
    judge = load_checker()
    verdicts = {}
    for category in CATEGORIES:
        bits = []
        for row, gold in rows(folder, category):
            # Its checker looks up the function by the gold's dotless name, so it must be there without dots.
            for function in row["function"]:
                function["name"] = function["name"].replace(".", "_")
            bits.extend("01"[judge(row, calls, gold, category)] for calls in outputs(row, gold))
        verdicts[category] = "".join(bits)
    return verdicts


if __name__ == "__main__":
    VERDICTS.write_text(json.dumps(record(Path(sys.argv[1])), indent=1) + "\n", encoding="utf-8")
