"""The object store, and the registry of models in it: versions, manifests, the promoted pointer, a local cache."""

from callwright.store.adapter_config import AdapterConfig
from callwright.store.base_model import resolve_base
from callwright.store.claim import claimed
from callwright.store.fetch import fetch, fetch_file, fetch_folder
from callwright.store.manifest import PROMOTED, BaseModelRef, FileEntry, Manifest, Promotion, Verification
from callwright.store.registry import Registry
from callwright.store.storage import Store
from callwright.store.url import located

__all__ = [
    "PROMOTED", "AdapterConfig", "BaseModelRef", "FileEntry", "Manifest", "Promotion", "Registry", "Store",
    "Verification", "claimed", "fetch", "fetch_file", "fetch_folder", "located", "resolve_base",
]  # fmt: skip
