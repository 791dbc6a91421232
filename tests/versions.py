"""Versions of models for tests: small, and whole unless told otherwise."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from callwright.store import BaseModelRef, FileEntry, Manifest, Registry, Store


def publish_version(
    store: Store,
    version: str,
    content: Mapping[str, bytes] | None = None,
    *,
    name: str = "m",
    whole: bool = True,
    **fields: Any,
) -> Manifest:
    """Store `content` by its paths and publish a manifest with `fields`; without `whole` only the files are stored."""
    content = content or {}
    for path, data in content.items():
        with store.writer(f"models/{name}/versions/{version}/{path}") as writer:
            writer.write(data)
    given = {"dialect": "ms_agent", "base": BaseModelRef(model="base"), "adapter_digest": "0" * 64} | fields
    manifest = Manifest(
        name=name,
        version=version,
        files={path: FileEntry.of(data) for path, data in content.items()},
        **({"created_at": datetime.now(UTC)} | given),
    )
    return Registry(store).publish(manifest) if whole else manifest
