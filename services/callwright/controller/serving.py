"""Sets a model's version in the text of a RayService's `serveConfigV2`, and changes nothing else in it.

    set_version(text, model="weather", version="weather-0123abcd")

The author of the RayService owns the text, so its comments and order stay. KubeRay updates in place, because only
the Serve configuration differs. Knows nothing of clusters.
"""

from collections.abc import Iterator

import yaml

from callwright.errors import InvalidInput

IMPORT_PATH = "callwright.server.app:build"


def set_version(text: str, *, model: str, version: str, store: str) -> str:
    """`text` with `version` at every model named `model` of Callwright's applications.

    Raises `InvalidInput` when it is no YAML, serves no such model, or would look for the version in a store around the
    folder of a namespace, `store`, that the version is in.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InvalidInput(f"reading serveConfigV2: not YAML: {error}") from None
    applications = [*_callwright_applications(root)]
    models = [(app, entry) for app in applications for entry in _items(_at(app, "args", "models"))]
    served = [(app, entry) for app, entry in models if _text(_at(entry, "name")) == model]
    if not served:
        known = ", ".join(sorted({_text(_at(entry, "name")) for _, entry in models})) or "none"
        raise InvalidInput(
            f"setting the version of {model} in serveConfigV2: got models {known}; "
            f"expected {model} among args.models of an application with import_path {IMPORT_PATH}"
        )
    edits = []
    for app, entry in served:
        url = _text(_at(app, "args", "store")).rstrip("/")
        if url and store.startswith(f"{url}/"):
            raise InvalidInput(
                f"setting the version of {model} in serveConfigV2: got args.store {url}; expected {store}, where the "
                "version is: set store.url of charts/serving"
            )
        found = _at(entry, "version")
        if found is None:
            raise InvalidInput(
                f"setting the version of {model} in serveConfigV2: the model has no key `version`; add it"
            )
        edits.append((found.start_mark.index, found.end_mark.index))
    for start, end in sorted(edits, reverse=True):
        text = f"{text[:start]}{_scalar(version)}{text[end:]}"
    return text


def applications_with(text: str, *, model: str) -> dict[str, str]:
    """Return the version of `model` in each of Callwright's applications that serves it, by the application's name."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return {
        _text(_at(app, "name")) or "default": _text(_at(entry, "version"))
        for app in _callwright_applications(root)
        for entry in _items(_at(app, "args", "models"))
        if _text(_at(entry, "name")) == model
    }


def _callwright_applications(root: yaml.Node | None) -> Iterator[yaml.Node]:
    for app in _items(_at(root, "applications")):
        if _text(_at(app, "import_path")) == IMPORT_PATH:
            yield app


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
