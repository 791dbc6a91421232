"""The object store, and the registry of models in it: versions, manifests, the promoted pointer, a local cache."""

from callwright.store.adapter_config import AdapterConfig
from callwright.store.base_model import check_weights, resolve_base
from callwright.store.cache import Cache
from callwright.store.cache_room import Bound
from callwright.store.claim import claimed
from callwright.store.fetch import (
    cached_manifest,
    cached_paths,
    differing,
    fetch,
    fetch_file,
    fetch_folder,
    served_files,
)
from callwright.store.kept_bases import UnusedBase, delete_bases, keep_base, kept_base, unused_bases
from callwright.store.manifest import (
    PROMOTED,
    BaseModelRef,
    FileEntry,
    Manifest,
    Parity,
    Promotion,
    Template,
    Verification,
)
from callwright.store.model_folder import check_folder
from callwright.store.paths import checked_path, checked_paths
from callwright.store.registry import Registry
from callwright.store.storage import Store
from callwright.store.url import located

__all__ = [
    "PROMOTED", "AdapterConfig", "BaseModelRef", "Bound", "Cache", "FileEntry", "Manifest", "Parity", "Promotion",
    "Registry", "Store", "Template", "UnusedBase", "Verification", "cached_manifest", "cached_paths", "check_folder",
    "check_weights", "checked_path", "checked_paths", "claimed", "delete_bases", "differing", "fetch", "fetch_file",
    "fetch_folder", "keep_base", "kept_base", "located", "resolve_base", "served_files", "unused_bases",
]  # fmt: skip
