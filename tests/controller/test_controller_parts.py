"""The controller's pure parts: what statuses say, how a status changes, the one edit of a RayService's text."""

from typing import Any

import pytest
import yaml

from callwright.controller import observed, serving, transitions
from callwright.controller.metrics import Metrics
from callwright.controller.observed import Seen
from callwright.errors import InvalidInput

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"


def ended(kind: str, **more: str) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": "True", **more}]}}


@pytest.mark.parametrize(
    ("job", "seen"),
    [
        ({}, Seen("waiting")),
        ({"status": {"active": 1, "ready": 1}}, Seen("running")),
        ({"status": {"active": 1}}, Seen("waiting")),  # for a node, a volume or an image
        ({"status": {"active": 1, "ready": 1, "failed": 2}}, Seen("running", "2 pods failed; trying again")),
        (ended("Complete"), Seen("succeeded")),
        (ended("Failed", reason="BackoffLimitExceeded", message="m"), Seen("failed", "m", "BackoffLimitExceeded")),
        # Newer Job controllers say so before the pods are gone: not the end yet.
        (ended("FailureTarget"), Seen("waiting")),
        (ended("SuccessCriteriaMet"), Seen("waiting")),
        (ended("Suspended"), Seen("waiting")),
    ],
)
def test_job_is_seen(job: dict[str, Any], seen: Seen) -> None:
    assert observed.see_job(job) == seen


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        ({}, Seen("waiting", "waiting for the KubeRay operator")),
        ({"jobDeploymentStatus": "Initializing"}, Seen("waiting", "RayJob is Initializing")),
        ({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"}, Seen("running")),
        ({"jobDeploymentStatus": "Running", "jobStatus": "SUCCEEDED"}, Seen("running")),  # the submitter is not done
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, Seen("succeeded")),
        (
            {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"},
            Seen("failed", "the Ray job ended as STOPPED", "JobStopped"),
        ),
        ({"jobDeploymentStatus": "Failed", "reason": "AppFailed", "message": "m"}, Seen("failed", "m", "AppFailed")),
        (
            {"jobDeploymentStatus": "Retrying", "failed": 2},
            Seen("waiting", "attempt 2 failed; trying again on a new Ray cluster"),
        ),
        ({"jobDeploymentStatus": "Suspended"}, Seen("waiting", "RayJob is Suspended")),
        (
            {"jobDeploymentStatus": "ValidationFailed", "message": "backoffLimit must be positive"},
            Seen("failed", "backoffLimit must be positive", "ValidationFailed"),
        ),
    ],
)
def test_ray_job_is_seen(status: dict[str, Any], seen: Seen) -> None:
    assert observed.see_ray_job({"status": status}) == seen


def rolled(status: str, *, observed_generation: int = 2, since: str = NOW, **more: Any) -> dict[str, Any]:
    """A RayService as KubeRay tells of it, whose application llm is looked at; others are nobody's business."""
    active = {"applicationStatuses": {"llm": {"status": status}, "other": {"status": "DEPLOY_FAILED"}}}
    told = {"observedGeneration": observed_generation, "lastUpdateTime": since, "activeServiceStatus": active}
    return {"metadata": {"generation": 2}, "status": told | more}


def prepared(status: str) -> dict[str, Any]:
    return {"pendingServiceStatus": {"rayClusterName": "m-2", "applicationStatuses": {"llm": {"status": status}}}}


@pytest.mark.parametrize(
    ("service", "state"),
    [
        (rolled("RUNNING"), "succeeded"),
        (rolled("RUNNING", observed_generation=1), "waiting"),  # that is the version before
        # As KubeRay tells of a generation before it looks at what Serve makes of it.
        (rolled("RUNNING", since="2026-01-01T00:59:55Z"), "running"),
        (rolled("DEPLOY_FAILED", since="2026-01-01T00:59:55Z"), "running"),
        (rolled("RUNNING", since="2026-01-01T00:59:50Z"), "succeeded"),
        (rolled("RUNNING", lastUpdateTime=None), "running"),
        (rolled("DEPLOYING"), "running"),
        (rolled("UNHEALTHY"), "running"),  # may pass
        (rolled("DEPLOY_FAILED"), "failed"),
        # Another Ray cluster takes over; until it does, what the one before it serves tells nothing.
        (rolled("RUNNING", pendingServiceStatus={"rayClusterName": "m-2"}), "running"),
        (rolled("RUNNING", **prepared("RUNNING")), "running"),
        (rolled("RUNNING", **prepared("DEPLOY_FAILED")), "failed"),
        (rolled("DEPLOY_FAILED", **prepared("DEPLOYING")), "running"),
        (rolled("RUNNING", activeServiceStatus={"applicationStatuses": {"other": {"status": "RUNNING"}}}), "running"),
        ({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}}, "running"),
    ],
)
def test_service_is_seen(service: dict[str, Any], state: str) -> None:
    assert observed.see_service(service, ["llm"], now=LATER).state == state


def test_why_a_version_could_not_start_is_told_in_serves_words() -> None:
    engine = {
        "status": "DEPLOY_FAILED",
        "message": "failed to start 3 times in a row. Error:\nNotFound: no version v9\n",
    }
    llm = {"status": "DEPLOY_FAILED", "message": "Failed to update", "serveDeploymentStatuses": {"engine": engine}}
    seen = observed.see_service(
        rolled("", activeServiceStatus={"applicationStatuses": {"llm": llm}}), ["llm"], now=LATER
    )
    assert seen.message == (
        "llm is DEPLOY_FAILED: Failed to update failed to start 3 times in a row. Error:\nNotFound: no version v9"
    )


def pod(name: str, *ends: dict[str, Any], finished: str = NOW, restarted: bool = False) -> dict[str, Any]:
    where = "lastState" if restarted else "state"
    statuses = [
        {"name": f"c{index}", where: {"terminated": {"finishedAt": finished, **end}}} for index, end in enumerate(ends)
    ]
    return {"metadata": {"name": name}, "status": {"containerStatuses": statuses}}


def test_last_words_are_those_of_the_newest_failed_pod() -> None:
    words = observed.last_words(
        [
            pod("old", {"exitCode": 1, "message": "not this"}),
            pod("fine", {"exitCode": 0, "message": "nor this"}, finished="2027-01-01T00:00:00Z"),
            pod("new", {"exitCode": 137, "reason": "OOMKilled"}, {"exitCode": 1, "message": "a\nb\n"}, finished=LATER),
        ]
    )
    assert words == "pod new, container c0: exit code 137, OOMKilled\npod new, container c1: exit code 1\n| a\n| b"
    assert observed.last_words([pod("p", {"exitCode": 1, "message": "again"}, restarted=True)]).endswith("| again")
    assert observed.last_words([]) == ""


def test_what_holds_pods_up_is_said() -> None:
    pulling = {"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    unscheduled = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes have nvidia.com/gpu"}
    assert "no such image" in observed.stuck([{"metadata": {"name": "p"}, "status": {"containerStatuses": [pulling]}}])
    assert "nvidia.com/gpu" in observed.stuck([{"metadata": {"name": "p"}, "status": {"conditions": [unscheduled]}}])
    assert observed.stuck([{"metadata": {"name": "p"}}]) == ""


@pytest.mark.parametrize(
    ("phase", "told", "is_held_up"),
    [
        ("Pending", {}, True),
        ("Training", {"Trained": "Running", "Ready": "Training"}, False),
        ("Training", {"Trained": "Waiting", "Ready": "Training"}, True),
        ("Training", {"Trained": "Running", "Ready": "Unavailable"}, True),
        ("Deploying", {"Deployed": "NotInstalled", "Ready": "Deploying"}, True),
        ("AwaitingPromotion", {"Promoted": "AwaitingPromotion", "Ready": "AwaitingPromotion"}, False),
        ("Failed", {"Trained": "Waiting", "Ready": "Unavailable"}, False),
    ],
)
def test_who_waits_for_somebody(phase: str, told: dict[str, str], is_held_up: bool) -> None:
    conditions = [{"type": kind, "reason": reason} for kind, reason in told.items()]
    assert observed.is_held_up(phase, {"conditions": conditions}) is is_held_up


def test_failures_and_waits_are_counted_by_document() -> None:
    """Several waits one after another are none that lasts; what had failed at the first sight is no failure of now."""
    metrics = Metrics()

    def value(metric: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"callwright_{metric}", {"namespace": "team-a"} | labels)

    metrics.see(("team-a", "weather"), "Pending", held_up=True)
    assert value("held_up_finetunes", name="weather") == 1
    metrics.see(("team-a", "weather"), "Training")
    assert value("failed_runs_total", phase="Failed") == 0, "so that a rise is seen"
    metrics.see(("team-a", "other"), "Failed", held_up=True)
    assert value("held_up_finetunes", name="weather") is None
    assert value("held_up_finetunes", name="other") == 1
    for _ in range(2):
        metrics.see(("team-a", "weather"), "Failed")
    assert value("failed_runs_total", phase="Failed") == 1
    metrics.see(("team-a", "weather"), None)
    assert (value("finetunes", phase="Failed"), value("finetunes", phase="Training")) == (1, 0)


def test_condition_keeps_its_time_until_its_truth_changes() -> None:
    status = transitions.begin(run="r", generation=3, now=NOW)
    status = transitions.condition(status, "Trained", "Unknown", "Started", now=NOW)
    status = transitions.condition(status, "Trained", "Unknown", "Running", now=LATER)
    trained = status.condition("Trained")
    assert trained is not None
    assert (trained.reason, trained.last_transition_time, trained.observed_generation) == ("Running", NOW, 3)
    status = transitions.condition(status, "Trained", "True", "Succeeded", now=LATER)
    assert status.holds("Trained")
    assert [each.last_transition_time for each in status.conditions] == [NOW, LATER]


def test_resumed_failure_keeps_what_is_done() -> None:
    status = transitions.begin(run="r", generation=1, now=NOW)
    status = transitions.condition(status, "Trained", "True", "Succeeded", now=NOW)
    failed = transitions.fail(status, "Merged", "Failed", "why", now=NOW)
    assert (failed.phase, failed.finished_at) == ("Failed", NOW)
    again = transitions.resume(failed, generation=2, now=LATER)
    assert (again.phase, again.attempt, again.observed_generation, again.finished_at) == ("Pending", 1, 2, None)
    assert {each.type for each in again.conditions} == {"Accepted", "Trained"}


CONFIG = """\
applications:
- name: a  # first
  import_path: callwright.server.app:build
  args: {models: [{id: one, name: one, version: v1}, {id: two, name: two, version: 'v1'}]}
- name: b
  import_path: somebody.else:build
  args: {models: [{name: one, version: v1}]}
"""


@pytest.mark.parametrize(
    "version", ["v2", "weather-0123abcd", "12345678", "1e5", "null", "0x1f", "a.b_c", "promoted", "true"]
)
def test_only_the_version_changes_and_it_is_a_string(version: str) -> None:
    text = serving.set_version(CONFIG, model="one", version=version, store="s3://bucket")
    models = yaml.safe_load(text)["applications"][0]["args"]["models"]
    assert [model["version"] for model in models] == [version, "v1"]
    assert len(text.splitlines()) == len(CONFIG.splitlines())
    unchanged = [line for line in CONFIG.splitlines() if line in text.splitlines()]
    assert len(unchanged) == len(CONFIG.splitlines()) - 1
    assert serving.set_version(text, model="one", version=version, store="s3://bucket") == text


def test_versions_of_a_model_are_known_by_application() -> None:
    assert serving.versions(CONFIG, model="one") == {"a": "v1"}
    assert serving.versions(CONFIG.replace("name: a  #", "#"), model="two") == {"default": "v1"}
    assert serving.versions(CONFIG, model="three") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("", "got models none"),
        (CONFIG.replace("callwright.server", "other"), "got models none"),
        (CONFIG.replace("name: one", "name: uno"), "got models two, uno"),
        (CONFIG.replace("name: one, version: v1", "name: one"), "no key `version`"),
    ],
)
def test_a_text_without_the_model_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        serving.set_version(text, model="one", version="v2", store="s3://bucket")


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (
            [
                (
                    "QuotaReserved",
                    "False",
                    "couldn't assign flavors to pod set main: insufficient quota",
                )
            ],
            "in Kueue's queue gpus: couldn't assign flavors to pod set main: insufficient quota",
        ),
        (
            [("Evicted", "True", "Preempted to accommodate a higher priority Workload"), ("Admitted", "False", "")],
            "in Kueue's queue gpus: Preempted to accommodate a higher priority Workload",
        ),
        ([("QuotaReserved", "True", "reserved"), ("Admitted", "True", "admitted")], ""),
        ([], "in Kueue's queue gpus"),
    ],
)
def test_why_kueue_admits_no_job_is_said_in_its_words(conditions: list[tuple[str, str, str]], said: str) -> None:
    told = [{"type": kind, "status": status, "message": message} for kind, status, message in conditions]
    workload = {"spec": {"queueName": "gpus"}, "status": {"conditions": told}}
    assert observed.queued([workload]) == said
