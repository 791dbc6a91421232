"""Who may come in: keys given or in a file, which never open what they were meant to close."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from callwright.errors import InvalidInput
from callwright.sidecar.config import SidecarConfig, check
from callwright.sidecar.errors import Refused
from callwright.sidecar.keys import Keys


def test_given_keys_are_checked_and_not_shown() -> None:
    config = SidecarConfig(api_keys=["primary", "second"])
    keys = Keys(None, config.api_keys)
    for good in ("Bearer primary", "bearer second"):
        keys.check(good)
    for bad in (None, "", "primary", "Bearer", "Bearer ", "Bearer third", "Basic primary", "Bearer primar", "Bearer ü"):
        with pytest.raises(Refused) as refused:
            keys.check(bad)
        assert refused.value.status == 401
    assert "primary" not in repr(config)


def test_keys_that_are_set_but_empty_are_an_error_at_the_start(tmp_path: Path) -> None:
    """What was meant to close must not open: only what is left out admits everybody."""
    for text in ("", " ", ",", "\t\n", " , "):
        environment = os.environ | {"CALLWRIGHT_API_KEYS": text}
        command = [sys.executable, "-m", "callwright.sidecar", "--port", "1"]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, "CALLWRIGHT_API_KEYS holds none" in ended.stderr) == (2, True), repr(text)
    file = tmp_path / "keys"
    for text in ("", "\n", "# a comment\n", "  # indented\n\t#\n", "\ufeff# after a mark\n", "# one\u2028line\n"):
        file.write_text(text)
        with pytest.raises(InvalidInput, match="holds none"):
            Keys(str(file))
    for given in ([], [" ", ""]):
        with pytest.raises(InvalidInput, match="holds none"):
            Keys(None, [SecretStr(key) for key in given])
    for setting in ({"api_keys_file": ""}, {"host": ""}, {"cors_origins": " ,"}):
        with pytest.raises(InvalidInput, match=next(iter(setting))):
            check(setting)


def test_a_comment_in_the_keys_file_is_no_key_wherever_it_begins(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("\ufeff# secret\r\n   # inner\r\n\t#\r\n  first \r\n")
    keys = Keys(str(file))
    keys.check("Bearer first")
    for bad in ("# secret", "secret", "# inner", "#", "\ufeff# secret"):
        with pytest.raises(Refused):
            keys.check(None, bad)


def test_keys_outside_ascii_match_in_the_bytes_that_clients_send(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("schlüssel\nключ\n钥匙\nà\n")
    keys = Keys(str(file))
    for sent in ("schlüssel".encode(), "schlüssel".encode("latin-1"), "ключ".encode(), "钥匙".encode(), "à".encode()):
        keys.check("Bearer " + sent.decode("latin-1"))
        keys.check(None, sent.decode("latin-1"))
    for bad in ("schl?ssel", "schlussel", "клю", "?"):
        with pytest.raises(Refused):
            keys.check(None, bad)


@pytest.mark.parametrize("lost", ["deleted", "a folder", "not text", "emptied"])
def test_a_keys_file_that_is_lost_is_logged_and_then_admits_nobody(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file, now = tmp_path / "keys", [1000.0]
    file.write_text("first\n")
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    keys = Keys(str(file), [SecretStr("given")])
    stamp = file.stat()
    match lost:
        case "deleted":
            file.unlink()
        case "a folder":
            file.unlink()
            file.mkdir()
        case "not text":
            file.write_bytes(b"\xff\n")
        case "emptied":
            file.write_text("")
    for passed in (2.0, 30.0, 28.0) if lost != "emptied" else ():
        now[0] += passed
        keys.check("Bearer first")
    now[0] += 2.0
    with pytest.raises(Refused):
        keys.check("Bearer first")
    keys.check("Bearer given")
    assert [record.levelname for record in caplog.records] == ["ERROR"] if lost == "emptied" else ["WARNING", "ERROR"]
    if file.is_dir():
        file.rmdir()
    file.write_text("first\n")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    now[0] += 2.0
    keys.check("Bearer first")
