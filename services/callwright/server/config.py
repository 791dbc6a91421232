"""`ServerConfig`: which models are served, where they come from, and on what.

Owns the shape of the server's file, which is also the `args` of `callwright.server.app:build` in a RayService. Knows
nothing of Ray or vLLM.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from callwright.errors import InvalidInput, NotFound
from callwright.spec import strict_yaml
from callwright.spec.model import Engine, SpecModel

Port = Annotated[int, Field(ge=1, le=65535)]

RAY_SERVE_ENV = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    # HAProxy tries another replica when one refuses, so a replica that leaves need not be reachable for long.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    # Whenever a replica comes or goes another HAProxy takes over; the one before it may finish its streams for so long.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "3600",
    # Serve ends a HAProxy, and all streams through it, whose manager is late three times. By itself it waits 5 s each
    # time while it starts, and 10 s later on, in which a busy machine does not come to it.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
}
"""Environment variables that Ray Serve reads in Ray's processes, on one machine and on clusters; see `ingress`."""


AutoscalingSetting = Literal[
    "initial_replicas",
    "look_back_period_s",
    "upscaling_factor",
    "downscaling_factor",
    "downscale_to_zero_delay_s",
    "aggregation_function",
    "policy",
]
"""Ray Serve's autoscaling settings, by Ray's names, that have no field here."""


class ServedAdapter(SpecModel):
    id: str = Field(min_length=1)
    """Model id under which clients ask for the adapter."""
    path: str = Field(min_length=1)
    """Local directory in PEFT's layout, or a run's adapter in the store as `run:<name>`."""


class ServedModel(SpecModel):
    id: str = Field(min_length=1)
    """Model id in the OpenAI API."""
    aliases: tuple[str, ...] = ()
    """Further ids of the same model."""
    path: str | None = None
    """Local directory with config.json, weights and tokenizer. Excludes `name`."""
    name: str | None = None
    """Name of the model in the store. Excludes `path`."""
    version: str = "promoted"
    """Version in the store; `promoted` is resolved once, when the application is built."""
    as_version: str | None = None
    """Version in the store, as `name@version`, whose manifest says how the model at `path` is talked to: its dialect,
    and how its chat template is called."""
    adapters: tuple[ServedAdapter, ...] = ()
    """LoRA adapters served unmerged beside the model."""
    engine: Engine = Engine()
    """The vLLM engine's settings."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.name is None):
            raise ValueError(f"model {self.id!r} needs either a path or the name of a model in the store")
        if self.as_version is not None and (self.path is None or not all(self.as_version.partition("@"))):
            raise ValueError(f"model {self.id!r}: asVersion is `name@version`, and stands beside a path")
        return self


class ServerConfig(SpecModel):
    models: tuple[ServedModel, ...] = Field(min_length=1)
    """Models that share a replica. Models to be scaled apart belong into applications of their own."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on. On a cluster the RayService decides."""
    port: Port = 8000
    """Port to listen on. On a cluster the RayService decides."""
    store: str | None = None
    """Object store URL; needed for models that are named."""
    cache_dir: str = ".callwright/cache"
    """Where each node keeps the versions that it has fetched. Replicas of a node may share it."""
    cache_bytes: int | None = Field(default=None, ge=1)
    """Most bytes in it: before a fetch, versions that no replica uses make room, the one used longest ago first. When
    absent, as many as its disk has room for."""
    cache_free_bytes: int = Field(default=1024**3, ge=0)
    """Bytes of its disk that stay free, likewise."""
    cache_look_seconds: float = Field(default=60.0, gt=0)
    """How often a replica looks at sizes and times of the files that it serves from the cache."""
    cache_verify_seconds: float = Field(default=86400.0, gt=0)
    """How often it reads and compares all of them. A replica whose files differ is replaced, and fetches them again."""
    device: Literal["cpu", "gpu"] = "cpu"
    """What an engine computes on. `gpu` takes `engine.tensorParallelSize` GPUs a replica, which its models share."""
    cpus: float = Field(default=1, gt=0)
    """CPUs that a replica asks of Ray."""
    engine_threads: int = Field(default=1, ge=1)
    """Threads that each engine computes with on the CPU."""
    kv_cache_bytes: int = Field(default=256 * 1024**2, ge=1024**2)
    """Size of each engine's key-value cache on the CPU, in bytes; on a GPU vLLM takes what is free."""
    min_replicas: int = Field(default=1, ge=0)
    """Fewest replicas."""
    max_replicas: int = Field(default=1, ge=1)
    """Most replicas."""
    target_ongoing_requests: int = Field(default=32, ge=1)
    """Requests per replica that autoscaling aims at."""
    target_first_token_seconds: float | None = Field(default=None, gt=0)
    """When set, there are also as many replicas as it takes for first tokens to come within so many seconds."""
    scale_up_seconds: float = Field(default=30.0, ge=0)
    """How long more replicas must be wanted before they start."""
    scale_down_seconds: float = Field(default=600.0, ge=0)
    """How long fewer must be enough before some stop."""
    autoscaling: dict[AutoscalingSetting, Any] = Field(default_factory=dict)
    """Further settings of Ray Serve's autoscaling, by Ray's names."""
    max_ongoing_requests: int = Field(default=512, ge=1)
    """Requests that a replica takes at once."""
    max_queued_requests: int = Field(default=1024, ge=1)
    """Requests that wait for a replica; more get 503."""
    drain_seconds: float = Field(default=120.0, ge=0)
    """How long a replica that is replaced may finish its streams."""
    forced_call_seconds: float = Field(default=60.0, gt=0)
    """How long a forced call may wait while plain answers go on; then the replica is unhealthy, and replaced."""
    start_attempts: int = Field(default=1, ge=1)
    """How often replicas of a version that takes over may fail to start, all together, before it is given up; then the
    replicas that are left of the version before go on."""
    canary_weight: int | None = Field(default=None, ge=1, le=99)
    """Share of the requests, in percent, that sidecars are to bring here as to a canary: an application of its own with
    the route prefix `/canary`, beside the one that stands. None where this is no canary."""
    start_seconds: float = Field(default=600.0, gt=0)
    """How long the first replicas may take to become ready."""

    @property
    def gpus(self) -> int:
        """GPUs of a replica: as many as its widest model spans, for its models share them."""
        return max(model.engine.tensor_parallel_size for model in self.models) if self.device == "gpu" else 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"minReplicas {self.min_replicas} is above maxReplicas {self.max_replicas}")
        ids = [served for model in self.models for served in served_ids(model)]
        if repeated := sorted({served for served in ids if ids.count(served) > 1}):
            raise ValueError(f"model ids must differ; {', '.join(repeated)} stands twice")
        adapters = [adapter.path for model in self.models for adapter in model.adapters]
        named = [name for model in self.models if (name := model.name or model.as_version)]
        named += [path for path in adapters if path.startswith("run:")]
        if self.store is None and named:
            raise ValueError(f"store is needed to find {', '.join(named)}")
        return self


def served_ids(model: ServedModel) -> tuple[str, ...]:
    """Return all ids of `model`: its own, its aliases and its adapters'."""
    return (model.id, *model.aliases, *(adapter.id for adapter in model.adapters))


def sidecar_command(
    config: ServerConfig,
    *,
    port: int,
    dialects: Mapping[str, str] | None = None,
    settings: Mapping[str, object] | None = None,
) -> list[str]:
    """Return what follows `python -m` for the sidecar of `config` on `port`; `dialects` goes over what manifests say,
    `settings` are further flags, of which those that are None are left out.

    For child processes on one machine and containers in a pod alike.
    """
    command = ["callwright.sidecar", "--upstream", f"http://{config.host}:{config.port}"]
    command += ["--host", config.host, "--port", str(port), *(("--store", config.store) if config.store else ())]
    for model in config.models:
        if version := model.as_version or (model.name and f"{model.name}@{model.version}"):
            command += ["--model", f"{model.id}={version}"]
    for model_id, dialect in (dialects or {}).items():
        command += ["--dialect", f"{model_id}={dialect}"]
    for flag, value in (settings or {}).items():
        command += [] if value is None else [f"--{flag}", str(value)]
    return command


def load(path: Path) -> ServerConfig:
    """Read a YAML or JSON file. Raises `NotFound` or `InvalidInput` with one line per problem."""
    try:
        text = strict_yaml.read(path)
    except FileNotFoundError:
        raise NotFound(f"reading the server's configuration: no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"reading the server's configuration: {path}: {error}") from None
    document = strict_yaml.load(text, where=f"reading the server's configuration: {path}")
    try:
        return ServerConfig.model_validate(document)
    except ValidationError as error:
        problems = tuple(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"reading the server's configuration: {path}", problems) from None
