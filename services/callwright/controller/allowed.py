"""What a document may name outside itself: Secrets, service accounts, stores, folders, engine options.

Whoever may write a FineTune has pods started with what it names, so the release says what that may be, for all
namespaces or for one. A pure function; the lists are `callwright.controller.config.Allowed`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from callwright.controller import tenancy
from callwright.controller.config import ControllerConfig, below
from callwright.controller.desired.pods import DATA_FOLDER
from callwright.errors import InvalidInput
from callwright.spec import FineTune
from callwright.store.url import StoreURL

_EVERYTHING = "*"
_HUBS = ("hf://", "modelscope://")
_SHOWN = 20


def refusals(finetune: FineTune, config: ControllerConfig, namespace: str | None = None) -> tuple[str, ...]:
    """Return a line for each thing that the document names and its namespace may not."""
    rules = _Rules(config, namespace)
    found = [*rules.objects(finetune), *rules.stores(finetune), *rules.files(finetune), *rules.options(finetune)]
    return (*found[:_SHOWN], f"and {len(found) - _SHOWN} more") if len(found) > _SHOWN else tuple(found)


@dataclass(frozen=True)
class _Rules:
    """What the documents of a namespace may name."""

    release: ControllerConfig
    namespace: str | None

    @cached_property
    def own(self) -> ControllerConfig:
        """The configuration for the namespace."""
        return self.release.of(self.namespace)

    @property
    def roots(self) -> tuple[str, ...]:
        """URLs of stores that may be named, there or below."""
        return (self.own.store, *self.own.allowed.stores)

    def objects(self, finetune: FineTune) -> Iterator[str]:
        asked, allowed, pods = finetune.spec.cluster, self.own.allowed, self.own.pods
        accounts = (*([pods.service_account] if pods.service_account else []), *allowed.service_accounts)
        yield from self._named("cluster.secret", asked.secret, (pods.secret, *allowed.secrets), "secrets")
        yield from self._named("cluster.serviceAccount", asked.service_account, accounts, "serviceAccounts")
        for index, mount in enumerate(asked.mounts):
            key = f"cluster.mounts[{index}]"
            yield from self._named(f"{key}.configMap", mount.config_map, allowed.config_maps, "configMaps")
            yield from self._named(f"{key}.claim", mount.claim, allowed.claims, "claims")
            if not any(below(mount.path, root) for root in allowed.mount_roots):
                yield self._refused(f"{key}.path", mount.path, allowed.mount_roots, "mountRoots")

    def stores(self, finetune: FineTune) -> Iterator[str]:
        if finetune.spec.store and not self._may_open(finetune.spec.store):
            yield self._refused("store", finetune.spec.store, self.roots, "stores")

    def files(self, finetune: FineTune) -> Iterator[str]:
        """Base, corpora and sets: read by the pods, from a hub, an allowed store or a folder of data."""
        asked = finetune.spec
        paths = {"base.model": asked.base.model}
        paths |= {f"data.sources[{index}].path": source.path for index, source in enumerate(asked.data.sources)}
        paths |= {f"evaluate.sets[{index}].path": each.path for index, each in enumerate(asked.evaluate.sets)}
        folders = (*self.own.allowed.mount_roots, *((DATA_FOLDER,) if self.own.pods.claim else ()))
        for key, path in paths.items():
            on_hub = path.startswith(_HUBS) and not {"", ".", ".."} & set(path.split("/")[2:])
            if on_hub or (key == "base.model" and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", path)):
                continue  # public, and bounded by where the pods may go
            if "://" in path:
                if not self._may_open(path):
                    yield self._refused(key, path, self.roots, "stores")
            elif not any(below(path, folder) for folder in folders) or self._is_others_file(path):
                yield self._refused(key, path, folders, "mountRoots")

    def options(self, finetune: FineTune) -> Iterator[str]:
        for option in finetune.spec.deploy.engine.extra:
            allowed = self.own.allowed.engine_options
            yield from self._named("deploy.engine.extra", option, allowed, "engineOptions")

    def _named(self, key: str, name: str | None, allowed: tuple[str, ...], value: str) -> Iterator[str]:
        if name is not None and name not in allowed and _EVERYTHING not in allowed:
            yield self._refused(key, name, allowed, value)

    def _refused(self, key: str, name: str, allowed: tuple[str, ...], value: str) -> str:
        shown = re.sub(r"//[^/]*@", "//…@", name)  # who writes a password into a URL is not shown it
        lists = f"tenants.{self.namespace}" if self.namespace in self.release.tenants else "runs"
        return (
            f"spec.{key}: got {shown[:200]!r}; expected one that this release allows: {', '.join(allowed) or 'none'}; "
            f"the chart's value {lists}.allowed.{value} opens it"
        )

    def _may_open(self, url: str) -> bool:
        """Return whether `url` is an allowed store or lies in one: whole names, none by which a path leaves its folder,
        and no folder of another namespace.
        """
        try:
            asked = StoreURL.read(url)
        except InvalidInput:
            return False
        if asked.scheme == "memory" or {"", ".", ".."} & set(asked.path.removesuffix("/").split("/")[1:]):
            return False
        everywhere = _EVERYTHING in self.roots and asked.scheme != "file"
        return (everywhere or self._within(asked) is not None) and not self._is_others(asked)

    def _is_others(self, place: StoreURL) -> bool:
        return tenancy.is_others(self.release, self.namespace, place, within=self._within(place))

    def _is_others_file(self, path: str) -> bool:
        """Return whether a file on a claim lies in another namespace's part of a store there."""
        place = StoreURL("file", "", path)
        stores = (self.release.store, *(each.store for each in self.release.tenants.values() if each.store))
        return any(StoreURL.read(url).holds(place) for url in stores) and self._is_others(place)

    def _within(self, place: StoreURL) -> StoreURL | None:
        """Return the innermost of the stores that may be named which hold this place."""
        named = (StoreURL.read(each) for each in self.roots if each != _EVERYTHING)
        return max((root for root in named if root.holds(place)), key=lambda root: len(root.path), default=None)
