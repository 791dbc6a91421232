"""`merge` with as little ceremony as possible, in a module that a child process can import by its name."""

import os
from pathlib import Path
from typing import Any

from callwright.merger import merge
from callwright.store import Manifest, Store


def run_merge(store: Store, base: Path, adapter: Path, /, **options: Any) -> Manifest:
    """`merge` with everything that a test does not care for filled in."""
    given: dict[str, Any] = {"name": "m", "version": "v1", "dialect": "react_en", "stop": ("Observation:",)}
    given |= {"base": {"model": os.fspath(base), "revision": None}} | options
    return merge(base_dir=base, adapter_dir=adapter, store=store, **given)
