"""`build`: makes the Ray Serve application, for `serve run`, `serve deploy` and a RayService's `serveConfigV2`.

Knows deployments and resources; the engine is in `callwright.server.replica`. `build` explains why not `ray.serve.llm`.
"""

from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from callwright.errors import InvalidInput
from callwright.server.config import ServedModel, ServerConfig
from callwright.server.replica import Replica
from callwright.server.scaling import FirstTokenPolicy
from callwright.store import Registry, Store

DEPLOYMENT = "engine"


def build(args: ServerConfig) -> Application:
    """Make the application of `args`, with `promoted` replaced by the version that is promoted now.

    Raises `NotFound` for a version that is not there.

    `ray.serve.llm.build_openai_app` sends every request through an ingress replica and every token through two
    pickling hops, and starts six processes that import vLLM. Here HAProxy (`callwright.server.ingress`) speaks to the
    replica that holds vLLM's application, and two processes import vLLM. Autoscaling, rolling updates and health checks
    are Serve's own.
    """
    config = args.model_copy(update={"models": tuple(_pinned(model, args) for model in args.models)})
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name=DEPLOYMENT,
        ray_actor_options={"num_cpus": config.cpus, "num_gpus": config.gpus},
        autoscaling_config=_autoscaling(config),
        max_ongoing_requests=config.max_ongoing_requests,
        max_queued_requests=config.max_queued_requests,
        graceful_shutdown_timeout_s=config.drain_seconds,
        # A replica of the new version is up before one of the old goes, so one that fails to load replaces nothing.
        max_surge_percent=100,
        max_constructor_retry_count=config.start_attempts,
        logging_config={"enable_access_log": False},
    )
    return deployment.bind(config.model_dump(mode="json"))


def _autoscaling(config: ServerConfig) -> AutoscalingConfig:
    settings: dict[str, Any] = {
        "min_replicas": config.min_replicas,
        # A version that takes over has as many replicas as the one before; where that may be none, it starts one.
        "initial_replicas": None if config.min_replicas else 1,
        "max_replicas": config.max_replicas,
        "target_ongoing_requests": config.target_ongoing_requests,
        "upscale_delay_s": config.scale_up_seconds,
        "downscale_delay_s": config.scale_down_seconds,
    }
    if (seconds := config.target_first_token_seconds) is not None:
        settings["policy"] = {"policy_function": FirstTokenPolicy, "policy_kwargs": {"target_seconds": seconds}}
    try:
        return AutoscalingConfig(**settings | dict(config.autoscaling))
    except (ValueError, TypeError, ImportError, AttributeError) as error:
        raise InvalidInput(f"scaling replicas: autoscaling: {error}") from None


def _pinned(model: ServedModel, config: ServerConfig) -> ServedModel:
    if model.name is None:
        return model
    assert config.store is not None
    manifest = Registry(Store.open(config.store)).manifest(model.name, model.version)
    return model.model_copy(update={"version": manifest.version})
