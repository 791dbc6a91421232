"""Sets a model's version in the text of a RayService's `serveConfigV2`, or puts a canary beside it, and changes nothing
else in it.

    set_version(text, model="weather", version="weather-0123abcd")

The author of the RayService owns the text, so its comments and order stay. KubeRay updates in place, because only
the Serve configuration differs. Knows nothing of clusters.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from callwright.errors import InvalidInput
from callwright.store.manifest import CANARY_PREFIX

IMPORT_PATH = "callwright.server.app:build"
UNPINNED = ("", "promoted")
"""Versions that leave it open which one is served."""
_WEIGHT = "canaryWeight"
_STRING = "tag:yaml.org,2002:str"


@dataclass(frozen=True)
class Canary:
    """An application that serves a version beside the one that stands."""

    application: str
    model: str
    version: str
    weight: int


@dataclass(frozen=True)
class _Model:
    """A model of an application of Callwright's that is no canary."""

    application: str
    store: str
    name: str
    version: yaml.Node | None


def set_version(text: str, *, model: str, version: str | Mapping[str, str], store: str) -> str:
    """`text` with `version` at every model named `model` of Callwright's applications, or with one for each by name.

    Raises `InvalidInput` when it is no YAML, serves no such model, or would look for the version in a store around the
    folder of a namespace, `store`, that the version is in.
    """
    models = _models(text)
    served = [each for each in models if each.name == model]
    if not served:
        known = ", ".join(sorted({each.name for each in models})) or "none"
        raise InvalidInput(
            f"setting the version of {model} in serveConfigV2: got models {known}; "
            f"expected {model} among args.models of an application with import_path {IMPORT_PATH}"
        )
    edits = []
    for each in served:
        if each.store and store.startswith(f"{each.store}/"):
            raise InvalidInput(
                f"setting the version of {model} in serveConfigV2: got args.store {each.store}; expected {store}, "
                "where the version is: set store.url of charts/serving"
            )
        if each.version is None:
            raise InvalidInput(
                f"setting the version of {model} in serveConfigV2: the model has no key `version`; add it"
            )
        wanted = version if isinstance(version, str) else version.get(each.application, _text(each.version))
        edits.append((each.version, wanted))
    return _edited(text, edits)


def versions(text: str, *, model: str) -> dict[str, str]:
    """Return the version of `model` in each of Callwright's applications that serves it, by the application's name."""
    return {each.application: _text(each.version) for each in _models(text) if each.name == model}


def names(text: str, model: str) -> frozenset[str]:
    """Return what clients and sidecars call `model`: its name, its id and its aliases."""
    apps = (yaml.safe_load(text) or {}).get("applications") or ()
    entries = [each for app in apps if _serves(app, model) for each in app["args"]["models"] if each["name"] == model]
    ids = [name for each in entries for name in (each.get("id"), *(each.get("aliases") or ()))]
    return frozenset({model, *(str(name) for name in ids if name)})


def canary(text: str) -> Canary | None:
    """Return the canary that is served; there is one at most."""
    for app in _items(_at(_root(text), "applications")):
        if _is_canary(app):
            weight = _at(app, "args", _WEIGHT)
            entry = next(iter(_items(_at(app, "args", "models"))), None)
            named = (_text(_at(app, "name")), _text(_at(entry, "name")), _text(_at(entry, "version")))
            return Canary(*named, weight=_number(weight))
    return None


def with_canary(text: str, *, model: str, version: str, weight: int) -> str:
    """`text` with this canary and no other: a first application, of the model alone, beside the one that serves it.

    It has as many replicas at most as its share of the other's, and begins with one.
    """
    found = canary(text)
    if found is not None and (found.model, found.version, found.weight) == (model, version, weight):
        return text
    text = without_canary(text)
    app = next(each for each in yaml.safe_load(text)["applications"] if _serves(each, model))
    args = app["args"]
    entry = next(each for each in args["models"] if each.get("name") == model)
    entry = {key: value for key, value in entry.items() if key != "adapters"} | {"version": version}
    scaling = {key: value for key, value in (args.get("autoscaling") or {}).items() if key != "initial_replicas"}
    share = math.ceil(int(args.get("maxReplicas") or 1) * weight / 100)
    args = args | {"minReplicas": 1, "maxReplicas": share, _WEIGHT: weight, "models": [entry]}
    args |= {"autoscaling": scaling} if scaling else {}
    made = app | {"name": f"{app.get('name') or 'default'}-canary", "route_prefix": CANARY_PREFIX, "args": args}
    return _inserted(text, json.dumps(made, ensure_ascii=False, default=str))


def without_canary(text: str) -> str:
    """`text` without its canary."""
    items = _items(found := _at(_root(text), "applications"))
    for place, app in enumerate(items):
        if _is_canary(app):
            begin, end = _start(found, app, text), app.end_mark.index
            if place + 1 < len(items):
                end = _start(found, items[place + 1], text)
            return text[:begin] + text[end:]
    return text


def with_versions_of(text: str, current: str) -> str:
    """`text`, whose models that name no version of their own, or `promoted`, have those that they have in `current`,
    and whose canary is that of `current`.

    Raises `InvalidInput` when either is no YAML.
    """
    kept = {(each.application, each.name): _text(each.version) for each in _models(current)}
    edits = []
    for each in _models(text):
        wanted = kept.get((each.application, each.name))
        if wanted and each.version is not None and _text(each.version) in UNPINNED:
            edits.append((each.version, wanted))
    made, tried = _edited(text, edits), canary(current)
    if tried is None or tried.model not in {each.name for each in _models(made)}:
        return made
    return with_canary(made, model=tried.model, version=tried.version, weight=tried.weight)


def _root(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InvalidInput(f"reading serveConfigV2: not YAML: {error}") from None


def _models(text: str) -> list[_Model]:
    return [
        _Model(
            application=_text(_at(app, "name")) or "default",
            store=_text(_at(app, "args", "store")).rstrip("/"),
            name=_text(_at(entry, "name")),
            version=_at(entry, "version"),
        )
        for app in _items(_at(_root(text), "applications"))
        if _text(_at(app, "import_path")) == IMPORT_PATH and _at(app, "args", _WEIGHT) is None
        for entry in _items(_at(app, "args", "models"))
    ]


def _edited(text: str, edits: list[tuple[yaml.Node, str]]) -> str:
    """Return the text with other values at these scalars; what says its value already stays as it is written."""
    for found, wanted in sorted(edits, key=lambda edit: edit[0].start_mark.index, reverse=True):
        if (found.tag, _text(found)) != (_STRING, wanted):
            text = f"{text[: found.start_mark.index]}{_scalar(wanted)}{text[found.end_mark.index :]}"
    return text


def _is_canary(application: yaml.Node) -> bool:
    is_ours = _text(_at(application, "import_path")) == IMPORT_PATH
    return is_ours and _at(application, "args", _WEIGHT) is not None


def _number(node: yaml.Node | None) -> int:
    """Return a whole number; 0 where it is none."""
    return int(_text(node)) if _text(node).isdecimal() else 0


def _serves(application: Mapping[str, Any], model: str) -> bool:
    args = application.get("args") or {}
    is_standing = application.get("import_path") == IMPORT_PATH and _WEIGHT not in args
    return is_standing and any(each.get("name") == model for each in args.get("models") or ())


def _inserted(text: str, application: str) -> str:
    """Return the text with one more application, written as JSON, before the first."""
    found = _at(_root(text), "applications")
    assert isinstance(found, yaml.SequenceNode)
    at = found.start_mark.index
    if found.flow_style:
        return f"{text[: at + 1]}{application}, {text[at + 1 :]}"
    return f"{text[:at]}- {application}\n{' ' * found.start_mark.column}{text[at:]}"


def _start(items: yaml.Node | None, item: yaml.Node, text: str) -> int:
    """Return where an item of a sequence begins, its dash included."""
    at = int(item.start_mark.index)
    if not isinstance(items, yaml.SequenceNode) or items.flow_style:
        return at
    indent = " " * items.start_mark.column  # of its dash, which a comment may part from the item
    return max(items.start_mark.index, text.rfind(f"\n{indent}-", 0, at) + 1 + len(indent))


def _at(node: yaml.Node | None, *keys: str) -> yaml.Node | None:
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for name, value in node.value if _text(name) == key), None)
    return node


def _items(node: yaml.Node | None) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _text(node: yaml.Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _scalar(version: str) -> str:
    """Return the version as a YAML scalar that is a string to every reader; a digest such as 12345678 or 1e5 is
    quoted.
    """
    plain = yaml.safe_load(version) == version and version.replace("-", "").replace(".", "").isalnum()
    return version if plain and version[0].isalpha() else f'"{version}"'
