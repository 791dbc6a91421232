"""Reads YAML whose author means every line of it, within bounds: a key that stands twice is refused.

load("a: 1", where="file.yaml")     {"a": 1}
"""

from pathlib import Path
from typing import Any

import yaml

from callwright.errors import InvalidInput

MAX_CHARACTERS = 1024**2
"""Of a document; a cluster takes no larger one either."""
_MAX_LEVELS = 100
_MAX_WRITTEN_OUT = 8 * MAX_CHARACTERS
"""Of a document whose aliases are replaced by what they stand for; each value counts as `_VALUE` more."""
_VALUE = 16
_MAX_VALUES = 20_000
"""Keys, values, lists and mappings of a document; each takes far longer to read than its characters."""
_MAX_DIGITS = 400
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def read(path: Path) -> str:
    """Return the text of a document; of one that is too long, enough for `load` to refuse it.

    Raises `OSError`, and `UnicodeDecodeError` for what is no UTF-8.
    """
    with path.open("rb") as file:
        data = file.read(4 * MAX_CHARACTERS + 1)
    return data.decode("utf-8", "replace" if len(data) > 4 * MAX_CHARACTERS else "strict")


def load(text: str, *, where: str) -> Any:
    """Return the document in `text`. Raises `InvalidInput` with the line of what is wrong; `where` names the text in
    it.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidInput(f"{where}: got over {MAX_CHARACTERS} characters; expected a document of at most as many")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidInput(f"{where}: not YAML{place}: {_said(error)}") from None
    except (ValueError, TypeError) as error:  # a date that is none, a number of too many digits
        raise InvalidInput(f"{where}: not YAML: {error}") from None
    except RecursionError:
        raise InvalidInput(f"{where}: not YAML: nested too deeply") from None


def _parts(node: yaml.Node | None) -> list[yaml.Node | str]:
    match node:
        case yaml.MappingNode():
            return [part for pair in node.value for part in pair]
        case yaml.SequenceNode():
            return list(node.value)
        case yaml.ScalarNode():
            return [node.value]
    return []


def _said(error: yaml.YAMLError) -> str:
    return " ".join(str(getattr(error, "problem", None) or error).split())


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a mapping with two values for a key, and what is over a bound."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0
        self._count = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the node, whose size is known before anything is made of it."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._level += 1
        if self._level > _MAX_LEVELS:
            raise yaml.composer.ComposerError(problem=f"nested deeper than {_MAX_LEVELS} levels", problem_mark=mark)
        self._count += 1
        if self._count > _MAX_VALUES:
            raise yaml.composer.ComposerError(problem=f"over {_MAX_VALUES} values", problem_mark=mark)
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._level -= 1
        if is_alias and id(node) not in self._sizes:
            raise yaml.composer.ComposerError(problem="an alias of what it stands in", problem_mark=mark)
        size = self._sizes.setdefault(id(node), _VALUE + sum(map(self._size, _parts(node))))
        if size > _MAX_WRITTEN_OUT:
            problem = f"written out, with its aliases, it has over {_MAX_WRITTEN_OUT} characters"
            raise yaml.composer.ComposerError(problem=problem, problem_mark=mark)
        return node

    def _size(self, part: yaml.Node | str) -> int:
        return len(part) if isinstance(part, str) else self._sizes[id(part)]

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value. A number or a date that is none is told by its line."""
        try:
            if node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:
                raise ValueError(f"a number of {len(node.value)} digits")
            return super().construct_object(node, deep)
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            problem = f"no value of {node.tag.rpartition(':')[2]}: {error}"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark) from None

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return the mapping as it is written: a key that is merged in (`<<`) may be given another value, as YAML
        says.
        """
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            named = key.value if key.value == "<<" else self.construct_object(key)
            line = key.start_mark.line + 1
            if named in lines:
                problem = f"{key.value!r} stands twice, first at line {lines[named]}; keep one"
                raise yaml.composer.ComposerError(problem=problem, problem_mark=key.start_mark)
            lines[named] = line
        return node
