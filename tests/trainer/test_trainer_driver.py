"""The driver's own Ray, where no cluster is joined, and what it makes of workers' errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray.train.v2.api.exceptions import WorkerGroupError

from callwright.errors import CallwrightError, InvalidInput, NotFound, StageFailed, Unavailable
from callwright.store import Store
from callwright.trainer.checkpoints import Checkpoints
from callwright.trainer.driver import explain

STARTS = """
import psutil, ray
from callwright.spec.model import Resources
from callwright.trainer.driver import _cluster
from listening import beyond_loopback
with _cluster(Resources()):
    ray.get(ray.remote(lambda: 1).remote())
    me = psutil.Process()
    processes = [me, *me.children(recursive=True)]
    assert len(processes) > 3
    print(beyond_loopback(each.pid for each in processes))
"""


@pytest.mark.e2e
def test_a_local_ray_listens_on_loopback_alone() -> None:
    """A machine's neighbours reach neither its store of objects nor who would run their code."""
    tests = str(Path(__file__).resolve().parents[1])
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = os.pathsep.join((tests, environment.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-c", STARTS], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stdout.strip().splitlines()[-1:]) == (0, ["[]"]), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("cause", "final"),
    [(InvalidInput("no such rank"), True), (NotFound("no weights"), True), (Unavailable("no answer"), False)],
)
def test_what_no_restart_can_mend_is_a_worker_s_own_word(tmp_path: Path, cause: CallwrightError, final: bool) -> None:
    """As it was raised, somewhere below what Ray makes of it: another Ray cluster would come to the same."""
    failure = RuntimeError("a worker failed")
    failure.__cause__ = cause
    checkpoints = Checkpoints(Store.open(tmp_path.as_uri()), "m-0123")
    told = explain(WorkerGroupError("", {1: failure}), allowed=3, checkpoints=checkpoints)
    assert (told is cause) == final
    assert isinstance(told, StageFailed) != final
