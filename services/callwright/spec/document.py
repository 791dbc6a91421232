"""Reads a FineTune document from YAML.

    finetune = load("finetune.yaml")

A wrong document raises `InvalidInput` with one line per problem: YAML path, what was found, what was expected.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from callwright.errors import InvalidInput, NotFound
from callwright.spec import strict_yaml
from callwright.spec.model import FineTune


def load(path: str | Path) -> FineTune:
    """Read the FineTune document at `path`. Raises `NotFound` or `InvalidInput`."""
    try:
        text = strict_yaml.read(Path(path))
    except FileNotFoundError:
        raise NotFound(f"reading the FineTune: no file {path}; expected a YAML document") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"reading the FineTune: {path} cannot be read: {error}") from None
    return parse(text, where=str(path))


def parse(text: str, *, where: str = "FineTune") -> FineTune:
    """Check one YAML document. Raises `InvalidInput` with one line per problem; `where` names the text in them."""
    return validate(strict_yaml.load(text, where=where), where=where)


def validate(document: object, *, where: str = "FineTune") -> FineTune:
    """Check a document that has been read. Raises `InvalidInput` with one line per problem; `where` names it in
    them.
    """
    if not isinstance(document, dict):
        raise InvalidInput(
            f"{where}: got {_shown(document)}; expected one mapping with apiVersion, kind, metadata, spec"
        )
    try:
        return FineTune.model_validate(document)
    except ValidationError as error:
        problems = tuple(_lines(error.errors(include_url=False), document))
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise InvalidInput(f"{where}: {count}", problems) from None


def _lines(details: list[ErrorDetails], document: Any) -> Iterator[str]:
    """Yield a line per place; a place that several members of a union refuse is told once."""
    by_path: dict[str, list[ErrorDetails]] = {}
    for detail in details:
        by_path.setdefault(_path(detail["loc"]), []).append(detail)
    for path, faults in by_path.items():
        # A list is "too short" when its members are faulty: what is wrong with those says more.
        deeper = any(other != path and other.startswith((f"{path}.", f"{path}[")) for other in by_path)
        if not (deeper and all(fault["type"] == "too_short" for fault in faults)):
            yield _line(path, faults, document)


def _path(loc: tuple[int | str, ...]) -> str:
    """`spec.data.sources[0].path`, without the union members that pydantic names in between."""
    parts = [part for part in loc if isinstance(part, int) or not any(sign in part for sign in "[(,")]
    return ".".join(f"[{part}]" if isinstance(part, int) else part for part in parts).replace(".[", "[")


def _line(path: str, faults: list[ErrorDetails], document: Any) -> str:
    loc = faults[0]["loc"]
    match faults[0]["type"]:
        case "missing":
            return f"{path}: missing; expected {_documented(loc)}"
        case "extra_forbidden":
            return f"{path}: unknown key; expected {_near(loc)}"
        case _:
            messages = (fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ") for fault in faults)
            return f"{path}: got {_shown(_at(document, loc))}; expected: {' or '.join(messages)}"


def _at(document: Any, loc: tuple[int | str, ...]) -> Any:
    for part in loc:
        match document:
            case dict() if part in document:
                document = document[part]
            case list() if isinstance(part, int) and part < len(document):
                document = document[part]
            case _:  # a union's tag, which is no place in the document
                continue
    return document


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    model: type[BaseModel] = FineTune
    for part in loc:
        field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        candidates = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return model


def _documented(loc: tuple[int | str, ...]) -> str:
    field = next((f for n, f in _model_at(loc[:-1]).model_fields.items() if loc[-1] in (n, f.alias)), None)
    described = " ".join((field.description or "a value").split()) if field else "a value"
    return described.split(". ")[0].split(";")[0].rstrip(".")


def _near(loc: tuple[int | str, ...]) -> str:
    known = [str(field.alias or name) for name, field in _model_at(loc[:-1]).model_fields.items() if not field.exclude]
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"{close[0]!r}?" if close else f"one of {', '.join(known)}"
