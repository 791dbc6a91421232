"""Sets a model's version in the text of a RayService's `serveConfigV2`, and changes nothing else in it.

    set_version(text, model="weather", version="weather-0123abcd")

The author of the RayService owns the text, so its comments and order stay. KubeRay updates in place, because only
the Serve configuration differs. Knows nothing of clusters.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from callwright.errors import InvalidInput

IMPORT_PATH = "callwright.server.app:build"
UNPINNED = ("", "promoted")
"""Versions that leave it open which one is served."""
_STRING = "tag:yaml.org,2002:str"


@dataclass(frozen=True)
class _Model:
    """A model of an application of Callwright's."""

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


def with_versions_of(text: str, current: str) -> str:
    """`text`, whose models that name no version of their own, or `promoted`, have those that they have in `current`.

    Raises `InvalidInput` when either is no YAML.
    """
    kept = {(each.application, each.name): _text(each.version) for each in _models(current)}
    edits = []
    for each in _models(text):
        wanted = kept.get((each.application, each.name))
        if wanted and each.version is not None and _text(each.version) in UNPINNED:
            edits.append((each.version, wanted))
    return _edited(text, edits)


def _models(text: str) -> list[_Model]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InvalidInput(f"reading serveConfigV2: not YAML: {error}") from None
    return [
        _Model(
            application=_text(_at(app, "name")) or "default",
            store=_text(_at(app, "args", "store")).rstrip("/"),
            name=_text(_at(entry, "name")),
            version=_at(entry, "version"),
        )
        for app in _items(_at(root, "applications"))
        if _text(_at(app, "import_path")) == IMPORT_PATH
        for entry in _items(_at(app, "args", "models"))
    ]


def _edited(text: str, edits: list[tuple[yaml.Node, str]]) -> str:
    """Return the text with other values at these scalars; what says its value already stays as it is written."""
    for found, wanted in sorted(edits, key=lambda edit: edit[0].start_mark.index, reverse=True):
        if (found.tag, _text(found)) != (_STRING, wanted):
            text = f"{text[: found.start_mark.index]}{_scalar(wanted)}{text[found.end_mark.index :]}"
    return text


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
