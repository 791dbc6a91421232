"""The evaluation as a Job: engine and sidecar as native sidecar containers, the evaluator beside them.

What is served and asked is `callwright.server.trial`'s and `callwright.server.front`'s, as on one machine; here is only
how a pod starts it.
"""

from callwright.controller.desired import pods
from callwright.controller.desired.document import BASE_FOLDER, CACHE_FOLDER, trial
from callwright.controller.desired.run import SPEC_FOLDER, Manifest, Run
from callwright.server.front import sidecar_command
from callwright.server.trial import Trial

STAGE = "evaluate"
_SIDECAR_PORT = 8100
_WAIT_SECONDS = "1800"
_LIFECYCLE = ("python", "-m", "callwright.server.lifecycle")


def evaluation_job(run: Run) -> Manifest:
    """The init containers in order: the base brought, the engine, the sidecar, the wait until both are up."""
    tried, sizes = trial(run), run.config.pods
    before = [_engine(run, tried), _sidecar(run, tried), _wait(run)]
    if tried.base:
        before.insert(0, _base(run))
    command = [*run.command("evaluator"), "--base-url", f"http://127.0.0.1:{_SIDECAR_PORT}/v1"]
    for flag, model in (("--base-id", tried.base), ("--promoted-id", tried.promoted)):
        command += [flag, model] if model else []
    evaluator = pods.container(run, "evaluate", run.config.images.evaluator, sizes.evaluate) | {"command": command}
    pod = pods.pod(run, STAGE, [evaluator])
    pod["spec"] |= {"initContainers": before} | pods.placement(run)
    pod["spec"]["volumes"].append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}})
    return pods.job(run, STAGE, pod)


def _base(run: Run) -> Manifest:
    base = run.finetune.spec.base
    command = [*_LIFECYCLE, "base", base.model, BASE_FOLDER, "--cache", CACHE_FOLDER]
    command += ["--revision", base.revision] if base.revision else []
    return pods.container(run, "base", run.config.images.server, run.config.pods.evaluate) | {"command": command}


def _engine(run: Run, tried: Trial) -> Manifest:
    made = pods.container(run, "engine", run.config.images.server, run.config.pods.engine, gpus=tried.server.gpus)
    made["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})
    command = ["python", "-m", "callwright.server", "--config", f"{SPEC_FOLDER}/server.yaml"]
    return made | {"command": command, "restartPolicy": "Always"}


def _sidecar(run: Run, tried: Trial) -> Manifest:
    flags = sidecar_command(tried.server, port=_SIDECAR_PORT, dialects=tried.dialects)
    made = pods.container(run, "sidecar", run.config.images.sidecar, run.config.pods.evaluate)
    return made | {"command": ["python", "-m", *flags], "restartPolicy": "Always"}


def _wait(run: Run) -> Manifest:
    command = [*_LIFECYCLE, "wait", f"http://127.0.0.1:{_SIDECAR_PORT}/readyz", _WAIT_SECONDS]
    return pods.container(run, "wait", run.config.images.sidecar, run.config.pods.evaluate) | {"command": command}
