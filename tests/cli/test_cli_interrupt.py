"""Ctrl-C: what is kept, the command that goes on from it, and exit code 130."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from callwright.cli.app import main
from callwright.errors import Interrupted
from callwright.server.preflight import free_ports

pytestmark = pytest.mark.timeout(600)


@pytest.mark.slow
def test_an_interrupted_demo_says_how_to_carry_on(base_dir: Path, tmp_path: Path) -> None:
    port, engine_port = free_ports(2)
    ports = ["--port", str(port), "--engine-port", str(engine_port)]
    command = [sys.executable, "-m", "callwright.cli", "demo", "--base", base_dir, "--root", "demo", *ports]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if re.match(r"train: \d+/\d+ ", line):
                    break
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            rest = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGINT, "".join(said) + rest
    assert "train: stopping after this step, with a checkpoint; Ctrl-C stops at once" in rest
    found = re.search(
        r"error: training: stopped by SIGINT after step \d+ of \d+, with a checkpoint; what is done stays in demo; "
        r"to carry on: (.* run demo/finetune.yaml --root demo --store \S+)\n$", rest
    )  # fmt: skip
    assert found, rest
    (made,) = (tmp_path / "demo" / "store" / "runs").iterdir()
    assert json.loads((made / "report.json").read_text())["status"] == "stopped"
    again = [*shlex.split(found[1]), "--until", "data", "--json"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["run"] == made.name


@pytest.mark.parametrize(("command", "expected"), [
    (("run", "finetune.yaml"), "error: interrupted; run the same again to carry on\n"),
    (("models", "list"), ""),
])  # fmt: skip
def test_commands_that_carry_on_say_so(
    command: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("callwright.spec.load", interrupt)
    monkeypatch.setattr("callwright.store.Store.open", interrupt)
    monkeypatch.setattr(sys, "argv", ["callwright", *command])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().err) == (130, expected)


def test_a_run_done_anew_goes_on_without_that(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted("training: stopped by SIGINT after step 3 of 9, with a checkpoint")

    data = {"sources": [{"path": str(tmp_path / "rows.jsonl")}]}
    (tmp_path / "rows.jsonl").touch()
    spec = {"base": {"model": str(base_dir)}, "dialect": "hermes", "data": data}
    document = {"apiVersion": "callwright.io/v1alpha1", "kind": "FineTune", "metadata": {"name": "m"}, "spec": spec}
    (tmp_path / "finetune.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setattr("callwright.cli.run.do_stages", interrupt)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["callwright", "run", "finetune.yaml", "--from", "train"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err.endswith("with a checkpoint; run it again without --from to carry on\n")
