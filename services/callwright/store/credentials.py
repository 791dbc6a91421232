"""Credentials of one store that come from a folder instead of the environment: a mounted Secret, a file for each key.

The keys are the environment variables that pods get them as. Who opens a store with these never falls back to the
credentials of its own environment.
"""

from pathlib import Path
from typing import Any

from callwright.errors import InvalidInput

_NEEDED = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "gs": ("GOOGLE_SERVICE_ACCOUNT_KEY",),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
}
_PLACES = {
    "s3": ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"),
    "gs": (),
    "az": ("AZURE_STORAGE_ENDPOINT",),
}
"""What says where the store is; the environment's where the folder does not say it."""


def options(scheme: str, folder: Path) -> dict[str, Any]:
    """Return what obstore opens a store of this scheme with. Raises `InvalidInput` for a folder that lacks a key."""
    if missing := [name for name in _NEEDED[scheme] if not _read(folder, name)]:
        raise InvalidInput(
            f"opening {scheme}://: the Secret at {folder} has no {missing[0]}; expected the keys "
            f"{', '.join(_NEEDED[scheme])}; no other credentials are tried"
        )
    places = {name.lower(): value for name in _PLACES[scheme] if (value := _read(folder, name))}
    if scheme != "s3":
        return {"config": places | {name.lower(): _read(folder, name) for name in _NEEDED[scheme]}}
    key, secret = (_read(folder, name) for name in _NEEDED[scheme])
    # As a provider, since of settings the environment's session token would stay beside them.
    credential = {
        "access_key_id": key,
        "secret_access_key": secret,
        "token": _read(folder, "AWS_SESSION_TOKEN") or None,
    }
    return {"config": places, "credential_provider": lambda: credential | {"expires_at": None}}


def _read(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"reading the Secret at {folder}: {name}: {type(error).__name__}") from None
