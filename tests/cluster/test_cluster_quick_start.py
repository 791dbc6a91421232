"""The quick start on a real cluster: both charts, a promoted run, its tool call through the Service, all gone again.

The tests stand in the order of a platform engineer's first hour, and each goes on from the one before.
"""

import json
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from kubectl import HERE, ROOT, Namespace, bucket_store, finetune

import kube
from callwright.store import Registry

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
pytestmark = pytest.mark.timeout(1200)


def test_the_chart_installs(namespace: Namespace, callwright: None) -> None:
    namespace.helm("test", "callwright", "--timeout", "2m")


def test_a_run_is_promoted(namespace: Namespace, figures: dict[str, Any]) -> None:
    began = time.monotonic()
    namespace.kubectl("apply", "-f", "-", stdin=finetune(namespace, evaluate={"compareBase": True}))
    namespace.wait("jsonpath={.status.phase}=Promoted", "finetune/quick-start", seconds=900)
    figures["seconds from apply to Promoted"] = round(time.monotonic() - began)
    status = namespace.get("finetune", "quick-start")["status"]
    assert (status["progress"], status["version"]) == ("10/10", status["run"]), status
    with bucket_store(namespace) as store:
        assert Registry(store).promoted("quick-start") == status["run"]
        evaluation = json.loads(store.get_bytes(f"runs/{status['run']}/evaluation.json"))
    assert list(evaluation["reports"]) == ["base", "candidate"]
    kube.wait_until(lambda: not namespace.names("rayclusters"), what="the training's GPUs given back", seconds=30)


def test_an_upgraded_controller_trains_nothing_again(namespace: Namespace, chart: Path) -> None:
    def look() -> list[Any]:
        made = namespace.get("rayjobs,jobs")["items"]
        return sorted(each["metadata"]["uid"] for each in made)

    before = look()
    namespace.helm("upgrade", "callwright", str(chart), "--reuse-values", "--set", "controller.pollSeconds=3", "--wait")
    # A label's change makes the new controller look at the document once more.
    namespace.kubectl("label", "finetune", "quick-start", "looked=yes")
    namespace.helm("test", "callwright", "--timeout", "2m")
    assert namespace.get("finetune", "quick-start")["status"]["phase"] == "Promoted"
    assert look() == before


def test_the_serving_installs(namespace: Namespace, figures: dict[str, Any]) -> None:
    began = time.monotonic()
    values = str(HERE / "serving-values.yaml")
    namespace.helm("install", "quick-start", str(ROOT / "charts/serving"), "-f", values)
    namespace.wait("condition=Ready", "rayservice/quick-start", seconds=600)
    namespace.wait("condition=Ready", "pod", "-l", "callwright.io/sidecar=true", seconds=300)
    figures["seconds from serving's installation to ready"] = round(time.monotonic() - began)
    namespace.helm("test", "quick-start", "--timeout", "2m")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_client_gets_a_tool_call(namespace: Namespace, stream: bool) -> None:
    with namespace.port_forward("service/quick-start", 80) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=120)
        asked: Any = {
            "model": "quick-start",
            "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
            "tools": [TOOL],
        }
        if stream:
            deltas = [
                chunk.choices[0].delta
                for chunk in client.chat.completions.create(**asked, stream=True)
                if chunk.choices
            ]
            calls = [call.function for delta in deltas for call in delta.tool_calls or () if call.function]
        else:
            calls = [
                call.function for call in client.chat.completions.create(**asked).choices[0].message.tool_calls or ()
            ]
    assert calls[0].name == "get_weather"
    assert json.loads("".join(call.arguments or "" for call in calls)) == {"city": "Paris"}


def test_everything_can_be_removed(namespace: Namespace) -> None:
    namespace.helm("uninstall", "quick-start", "--wait", "--timeout", "3m")
    namespace.kubectl("delete", "finetune", "quick-start", "--timeout=120s")
    namespace.helm("uninstall", "callwright", "--wait", "--timeout", "2m")

    def left() -> list[str]:
        return namespace.names("deployments,services,rayservices,rayjobs,jobs")

    kube.wait_until(lambda: left() == ["store", "store"], what=lambda: f"the store alone left, of {left()}")
