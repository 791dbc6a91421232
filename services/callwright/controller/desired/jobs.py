"""The Jobs of a run. Preparation: what the training would wait for is done, without GPUs. Merge: adapter and base
become a published version. Evaluation: that version is measured.

The evaluation's engine and sidecar are native sidecar containers, the evaluator stands beside them. What they serve is
decided by `callwright.server.trial`, as on one machine; here is only how a pod starts them.
"""

from callwright.controller.desired import pods
from callwright.controller.desired.run import BASE_FOLDER, CACHE_FOLDER, SPEC_FOLDER, Manifest, Run
from callwright.server.config import sidecar_command

_SIDECAR_PORT = 8100
_WAIT_SECONDS = "1800"
_LIFECYCLE = ("python", "-m", "callwright.server.lifecycle")


def preparation_job(run: Run) -> Manifest:
    """Return one pod, without GPUs."""
    size, image = run.config.pods.prepare, run.config.images.trainer
    command = [*run.command("trainer"), "--stage", "prepare"]
    return pods.job(
        run, "prepare", pods.pod(run, "prepare", [pods.container(run, "prepare", image, size, command=command)])
    )


def merge_job(run: Run) -> Manifest:
    """Return one pod, without GPUs."""
    size, image = run.config.pods.merge, run.config.images.merger
    container = pods.container(run, "merge", image, size, command=run.command("merger"))
    return pods.job(run, "merge", pods.pod(run, "merge", [container]))


def evaluation_job(run: Run) -> Manifest:
    """Return the init containers in order: the base brought, the engine, the sidecar, the wait until both are up."""
    url = f"http://127.0.0.1:{_SIDECAR_PORT}"
    before = [_base(run)] if run.trial.base else []
    before += [_engine(run), _sidecar(run), _wait(run, f"{url}/readyz")]
    command = [*run.command("evaluator"), "--base-url", f"{url}/v1"]
    for flag, model in (("--base-id", run.trial.base), ("--promoted-id", run.trial.promoted)):
        command += [flag, model] if model else []
    size, image = run.config.pods.evaluate, run.config.images.evaluator
    pod = pods.pod(run, "evaluate", [pods.container(run, "evaluate", image, size, command=command)])
    pod["spec"] |= {"initContainers": before} | pods.placement(run)
    pod["spec"]["volumes"].append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}})
    return pods.job(run, "evaluate", pod)


def _base(run: Run) -> Manifest:
    base = run.finetune.spec.base
    command = [*_LIFECYCLE, "base", base.model, BASE_FOLDER, "--cache", CACHE_FOLDER]
    command += ["--revision", base.revision] if base.revision else []
    command += ["--store", run.store, "--run", run.name]
    return pods.container(run, "base", run.config.images.server, run.config.pods.evaluate, command=command)


def _engine(run: Run) -> Manifest:
    command = ["python", "-m", "callwright.server", "--config", f"{SPEC_FOLDER}/server.yaml"]
    size, gpus = run.config.pods.engine, run.trial.server.gpus
    made = pods.container(run, "engine", run.config.images.server, size, gpus=gpus, command=command)
    made["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})
    return made | {"restartPolicy": "Always"}


def _sidecar(run: Run) -> Manifest:
    command = ["python", "-m", *sidecar_command(run.trial.server, port=_SIDECAR_PORT)]
    made = pods.container(run, "sidecar", run.config.images.sidecar, run.config.pods.evaluate, command=command)
    return made | {"restartPolicy": "Always"}


def _wait(run: Run, url: str) -> Manifest:
    command = [*_LIFECYCLE, "wait", url, _WAIT_SECONDS]
    return pods.container(run, "wait", run.config.images.sidecar, run.config.pods.evaluate, command=command)
