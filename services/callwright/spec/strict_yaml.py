"""Reads YAML whose author means every line of it: a key that stands twice is refused.

load("a: 1", where="file.yaml")     {"a": 1}
"""

from typing import Any

import yaml

from callwright.errors import InvalidInput


def load(text: str, *, where: str) -> Any:
    """The document in `text`. Raises `InvalidInput` with the line of what is wrong; `where` names the text in it."""
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


def _said(error: yaml.YAMLError) -> str:
    return " ".join(str(getattr(error, "problem", None) or error).split())


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a mapping with two values for a key."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The mapping as it is written: a key that is merged in (`<<`) may be given another value, as YAML says."""
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
