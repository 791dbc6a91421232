"""The object store, and the registry of models in it: versions, manifests, the promoted pointer, a local cache."""

from callsmith.store.base import resolve_base
from callsmith.store.claim import claimed
from callsmith.store.fetch import fetch
from callsmith.store.manifest import PROMOTED, BaseModelRef, FileEntry, Manifest, Promotion, Verification
from callsmith.store.registry import Registry
from callsmith.store.storage import Store

__all__ = [
    "PROMOTED", "BaseModelRef", "FileEntry", "Manifest", "Promotion", "Registry", "Store", "Verification", "claimed",
    "fetch", "resolve_base",
]  # fmt: skip
