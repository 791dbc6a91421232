"""What a document may name outside itself: Secrets, service accounts, stores, folders, engine options.

Whoever may write a FineTune has pods started with what it names, so the release says what that may be. A pure function;
the lists are `callwright.controller.config.Allowed`.
"""

import re
from collections.abc import Iterator

from callwright.controller.config import ControllerConfig, below
from callwright.controller.desired.pods import DATA_FOLDER
from callwright.errors import InvalidInput
from callwright.spec import FineTune
from callwright.store.url import StoreURL

_EVERYTHING = "*"
_HUBS = ("hf://", "modelscope://")
_SHOWN = 20


def refusals(finetune: FineTune, config: ControllerConfig) -> tuple[str, ...]:
    """Return a line for each thing that the document names and the release does not allow."""
    found = [*_objects(finetune, config), *_stores(finetune, config), *_files(finetune, config)]
    options = config.allowed.engine_options
    for option in finetune.spec.deploy.engine.extra:
        found += _named("deploy.engine.extra", option, options, "engineOptions")
    return (*found[:_SHOWN], f"and {len(found) - _SHOWN} more") if len(found) > _SHOWN else tuple(found)


def _objects(finetune: FineTune, config: ControllerConfig) -> Iterator[str]:
    asked, allowed, pods = finetune.spec.cluster, config.allowed, config.pods
    accounts = (pods.service_account, *allowed.service_accounts) if pods.service_account else allowed.service_accounts
    yield from _named("cluster.secret", asked.secret, (pods.secret, *allowed.secrets), "secrets")
    yield from _named("cluster.serviceAccount", asked.service_account, accounts, "serviceAccounts")
    for index, mount in enumerate(asked.mounts):
        key = f"cluster.mounts[{index}]"
        yield from _named(f"{key}.configMap", mount.config_map, allowed.config_maps, "configMaps")
        yield from _named(f"{key}.claim", mount.claim, allowed.claims, "claims")
        if not any(below(mount.path, root) for root in allowed.mount_roots):
            yield _refused(f"{key}.path", mount.path, allowed.mount_roots, "mountRoots")


def _stores(finetune: FineTune, config: ControllerConfig) -> Iterator[str]:
    if finetune.spec.store and not _in_store(finetune.spec.store, config):
        yield _refused("store", finetune.spec.store, (config.store, *config.allowed.stores), "stores")


def _files(finetune: FineTune, config: ControllerConfig) -> Iterator[str]:
    """Base, corpora and sets: read by the pods, from a hub, an allowed store or a folder of data."""
    asked = finetune.spec
    paths = {"base.model": asked.base.model}
    paths |= {f"data.sources[{index}].path": source.path for index, source in enumerate(asked.data.sources)}
    paths |= {f"evaluate.sets[{index}].path": each.path for index, each in enumerate(asked.evaluate.sets)}
    folders = (*config.allowed.mount_roots, *((DATA_FOLDER,) if config.pods.claim else ()))
    for key, path in paths.items():
        on_hub = path.startswith(_HUBS) and not {"", ".", ".."} & set(path.split("/")[2:])
        if on_hub or (key == "base.model" and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", path)):
            continue  # public, and bounded by where the pods may go
        if "://" in path:
            if not _in_store(path, config):
                yield _refused(key, path, (config.store, *config.allowed.stores), "stores")
        elif not any(below(path, folder) for folder in folders):
            yield _refused(key, path, folders, "mountRoots")


def _named(key: str, name: str | None, allowed: tuple[str, ...], value: str) -> Iterator[str]:
    if name is not None and name not in allowed and _EVERYTHING not in allowed:
        yield _refused(key, name, allowed, value)


def _refused(key: str, name: str, allowed: tuple[str, ...], value: str) -> str:
    shown = re.sub(r"//[^/]*@", "//…@", name)  # who writes a password into a URL is not shown it
    return (
        f"spec.{key}: got {shown[:200]!r}; expected one that this release allows: {', '.join(allowed) or 'none'}; "
        f"the chart's value runs.allowed.{value} opens it"
    )


def _in_store(url: str, config: ControllerConfig) -> bool:
    """Return whether `url` is an allowed store or lies in one: whole names, and none by which a path leaves its
    folder.
    """
    try:
        asked = StoreURL.read(url)
    except InvalidInput:
        return False
    path = asked.path.removesuffix("/")
    if asked.scheme == "memory" or {"", ".", ".."} & set(path.split("/")[1:]):
        return False
    if _EVERYTHING in config.allowed.stores and asked.scheme != "file":
        return True
    roots = [StoreURL.read(each) for each in (config.store, *config.allowed.stores) if each != _EVERYTHING]
    return any(
        asked.scheme == root.scheme
        and (asked.scheme == "file" or asked.host == root.host)
        and f"{path}/".startswith(f"{root.path.removesuffix('/')}/")
        for root in roots
    )
