"""The commands: what they print, their exit codes, and no traceback whatever is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from callwright.cli.app import app
from callwright.errors import CallwrightError
from callwright.store import Store

DOCUMENT = """
apiVersion: callwright.io/v1alpha1
kind: FineTune
metadata: {name: weather}
spec:
  base: {model: base}
  dialect: react_en
  data: {sources: [{path: unused.jsonl}]}
"""


@pytest.fixture
def project(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a document, a base and a trained run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CALLWRIGHT_STORE", raising=False)
    (tmp_path / "base").symlink_to(pair[0])
    (tmp_path / "weather.yaml").write_text(DOCUMENT)
    store = Store.open((tmp_path / ".callwright/store").as_uri())
    store.put_tree("runs/weather/adapter", pair[1])
    store.put_bytes("runs/weather/report.json", b'{"loss": 0.25}')
    return tmp_path


def run(*arguments: str, expect: int = 0) -> Result:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, CallwrightError):
        assert result.exception.exit_code == expect, result.exception
    else:
        assert (result.exit_code, result.exception) == (expect, None), result.output
    return result


def printed(*arguments: str) -> object:
    return json.loads(run(*arguments, "--json").stdout)


def test_from_a_run_to_a_promoted_version(project: Path) -> None:
    plan = printed("merge", "weather.yaml", "--run", "weather", "--dry-run")
    assert isinstance(plan, dict)
    assert (plan["tensors"], plan["changed"], plan["shards"]) == (27, 14, ["model.safetensors"])
    assert printed("models", "list") == []
    manifest = printed("merge", "weather.yaml", "--run", "weather")
    assert isinstance(manifest, dict)
    assert (manifest["name"], manifest["version"], manifest["dialect"]) == ("weather", "weather", "react_en")
    assert manifest["stop"]
    assert manifest["metrics"] == {"train": {"loss": 0.25}}
    assert "published weather weather" in run("merge", "weather.yaml", "--run", "weather").stdout
    run("merge", "weather.yaml", "--run", "weather", "--version", "second", "--no-verify")
    assert printed("promote", "weather", "weather", "--dry-run") == {
        "name": "weather", "before": None, "promoted": "weather", "dry_run": True,
    }  # fmt: skip
    run("promote", "weather", "weather")
    run("promote", "weather", "second", "--expect", "weather")
    rows = printed("models", "list")
    assert isinstance(rows, list)
    assert [(row["version"], row["promoted"]) for row in rows] == [("weather", False), ("second", True)]
    assert "promoted: True" in run("models", "show", "weather").stdout
    assert "weather second is whole: 3 files" in run("models", "verify", "weather").stdout
    assert "rolled weather back from second to weather" in run("rollback", "weather").stdout
    removed = run("models", "gc", "--keep", "0", "--grace-minutes", "0", "--dry-run").stdout
    assert "would delete weather second: older than the newest 0" in removed
    assert len(printed("models", "list")) == 2  # type: ignore[arg-type]
    run("models", "gc", "--keep", "0", "--grace-minutes", "0")
    assert len(printed("models", "list", "weather")) == 1  # type: ignore[arg-type]


def test_a_spoiled_version_is_found(project: Path) -> None:
    run("merge", "weather.yaml", "--run", "weather", "--no-verify")
    file = project / ".callwright/store/models/weather/versions/weather/model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    result = run("models", "verify", "weather", "weather", "--json", expect=1)
    assert json.loads(result.stdout)["whole"] is False
    assert "model.safetensors: got sha256" in str(result.exception)


def test_the_store_comes_from_option_document_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from callwright.cli.options import store_url

    assert store_url() == (project / ".callwright/store").as_uri()
    monkeypatch.setenv("CALLWRIGHT_STORE", "s3://from-environment")
    assert store_url() == "s3://from-environment"
    assert store_url(None, "s3://from-document") == "s3://from-document"
    assert store_url("s3://from-option", "s3://from-document") == "s3://from-option"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("merge", "weather.yaml", "--run", "weather", "--run", "never"), 2, "no runs/never/adapter in file://"),
        (("merge", "weather.yaml", "--run", "weather", "--store", "file:///proc/none"), 2, "no runs/weather/adapter"),
        (
            ("merge", "weather.yaml", "--run", "weather", "--store", "file:///proc/none", "--adapter", "adapter"),
            2,
            "choose another store",
        ),
        (("merge", "elsewhere.yaml"), 2, "expected one with config.json"),
        (("merge", "nothing.yaml"), 2, "no file nothing.yaml"),
        (("merge", "weather.yaml", "--run", "weather", "--store", "ftp://x"), 2, "expected a URL with one of"),
        (("models", "show", "nobody"), 2, "no version is promoted"),
        (("rollback", "nobody"), 2, "no version is promoted"),
        (("promote", "nobody", "v1"), 2, "its versions: none"),
        (("models", "gc", "../x"), 2, "naming a model"),
    ],
)
def test_errors_have_an_exit_code_and_no_traceback(
    project: Path, pair: tuple[Path, Path], arguments: tuple[str, ...], code: int, words: str
) -> None:
    (project / "elsewhere.yaml").write_text(DOCUMENT.replace("model: base", "model: ./no/base"))
    (project / "adapter").symlink_to(pair[1])
    result = run(*arguments, expect=code)
    assert words in str(result.exception)


def test_the_job_and_the_command_end_without_a_traceback(project: Path) -> None:
    environment = os.environ | {"CALLWRIGHT_STORE": (project / ".callwright/store").as_uri()}
    job = [sys.executable, "-m", "callwright.merger", "--spec", "weather.yaml", "--run"]
    good = subprocess.run([*job, "weather", "--workdir", "work"], env=environment, capture_output=True, text=True)
    assert (good.returncode, "published weather weather" in good.stderr) == (0, True), good.stderr
    bad = subprocess.run([*job, "never"], env=environment, capture_output=True, text=True)
    assert (bad.returncode, "Traceback" in bad.stderr) == (2, False)
    assert "train the run first" in bad.stderr
    command = [sys.executable, "-m", "callwright.cli", "models", "show", "nobody"]
    worse = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (worse.returncode, "Traceback" in worse.stderr) == (2, False)
    assert "error: reading model nobody" in worse.stderr


def test_a_run_that_was_trained_in_another_dialect_is_not_published_as_what_the_document_says(project: Path) -> None:
    """The default's first name and today's name one run, so a document that comes to name it may find another."""
    store = Store.open((project / ".callwright/store").as_uri())
    sample = {"dialect": "hermes", "stop": [], "template": {"sha256": "", "tool_role": True, "shows_reasoning": True}}
    store.put_bytes("runs/weather/data/parity.json", json.dumps({**sample, "prompts": []}).encode())
    refused = run("merge", "weather.yaml", "--run", "weather", expect=2).exception
    assert "it was trained in the dialect hermes; the document says react_en" in str(refused)
    assert "change metadata.name and train anew" in str(refused)
