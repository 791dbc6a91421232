"""The server's file, and what is checked before Ray starts."""

import json
import socket
from pathlib import Path
from typing import Any, get_args

import pytest

from callwright.errors import InvalidInput, NotFound
from callwright.server import preflight
from callwright.server.config import AutoscalingSetting, ServedModel, ServerConfig, load, served_ids, sidecar_command


def test_a_file_becomes_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("models:\n- {id: m, path: /models/m, aliases: [n], engine: {maxModelLen: 128}}\nport: 9000\n")
    config = load(file)
    assert config.port == 9000
    assert config.models[0].engine.max_model_len == 128
    assert served_ids(config.models[0]) == ("m", "n")
    file.write_text(config.model_dump_json())
    assert load(file) == config, "what is handed to the replica is the same again"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: []", "models"),
        ("models: [{id: m}]", "either a path or the name"),
        ("models: [{id: m, path: x, name: y}]", "either a path or the name"),
        ("models: [{id: m, path: x}, {id: m, path: y}]", "m stands twice"),
        ("models: [{id: m, path: x, aliases: [m]}]", "m stands twice"),
        ("models: [{id: m, name: y}]", "store is needed"),
        ("models: [{id: m, path: x, asVersion: y@v1}]", "store is needed to find y@v1"),
        ("models: [{id: m, path: x, asVersion: y}]", "asVersion is `name@version`"),
        ("models: [{id: m, name: x, asVersion: y@v1}]", "stands beside a path"),
        ("models: [{id: m, path: x}]\nprot: 1", "prot"),
        ("models: [{id: m, path: x}]\nminReplicas: 3", "minReplicas 3 is above maxReplicas 1"),
        ("models: [{id: m, path: x}]\nautoscaling: {upscale: 2}", "autoscaling"),
        ("models: [{id: m, path: x}]\nautoscaling: {max_replicas: 2}", "autoscaling"),
        ("models: [", "server.yaml"),
        ("hello", "server.yaml"),
    ],
)
def test_a_wrong_file_says_why(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "server.yaml").write_text(text)
    with pytest.raises(InvalidInput, match="reading the server's configuration") as refused:
        load(tmp_path / "server.yaml")
    assert said in str(refused.value)


def test_no_file() -> None:
    with pytest.raises(NotFound):
        load(Path("/nowhere/server.yaml"))


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=f"127.0.0.1:{port}: it is in use"):
            preflight.check_port("127.0.0.1", port)
    preflight.check_port("127.0.0.1", port)
    with pytest.raises(InvalidInput):
        preflight.check_port("no such host.", 80)


def test_a_local_model_must_be_there(tmp_path: Path) -> None:
    config = ServerConfig(models=(ServedModel(id="m", path=str(tmp_path / "m")),))
    with pytest.raises(NotFound, match="no directory"):
        preflight.check_models(config)
    (tmp_path / "m").mkdir()
    with pytest.raises(NotFound, match=r"config\.json"):
        preflight.check_models(config)
    (tmp_path / "m" / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForCausalLM"]}))
    with pytest.raises(NotFound, match="safetensors"):
        preflight.check_models(config)
    (tmp_path / "m" / "model.safetensors").touch()
    preflight.check_models(config)


@pytest.mark.parametrize("most", [None, 512])
def test_the_sidecar_gets_the_default_length_of_an_answer(most: int | None) -> None:
    made = ServerConfig(models=(ServedModel(id="m", path="p"),))
    command = sidecar_command(made, port=8100, settings={"default-max-tokens": most})
    assert command[-2:] == (["--default-max-tokens", "512"] if most else ["--port", "8100"])


def test_ray_serve_gets_its_own_autoscaling_settings() -> None:
    from ray.serve.config import AutoscalingConfig

    from callwright.server import app

    assert set(get_args(AutoscalingSetting)) <= AutoscalingConfig.model_fields.keys()
    given: dict[AutoscalingSetting, Any] = {"look_back_period_s": 60, "downscale_to_zero_delay_s": 900}
    made = ServerConfig(models=(ServedModel(id="m", path="p"),), scale_down_seconds=300, autoscaling=given)
    scaled = app.build(made)._bound_deployment._deployment_config.autoscaling_config
    assert scaled is not None
    assert (scaled.look_back_period_s, scaled.downscale_to_zero_delay_s, scaled.downscale_delay_s) == (60, 900, 300)


@pytest.mark.parametrize(
    "given",
    [{"initial_replicas": 5}, {"look_back_period_s": "long"}, {"policy": {"policy_function": "nowhere:policy"}}],
    ids=str,
)
def test_autoscaling_settings_that_ray_refuses_are_named(given: Any) -> None:
    from callwright.server import app

    with pytest.raises(InvalidInput, match="scaling replicas: autoscaling"):
        app.build(ServerConfig(models=(ServedModel(id="m", path="p"),), autoscaling=given))
