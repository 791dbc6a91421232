"""`Replica`: runs vLLM's engine and OpenAI application for each model of a Ray Serve replica.

vLLM's own application answers the requests; nothing of it is rewritten. Ray Serve mounts it in the replica, so a
request takes one hop from the proxy to the engine. Imports vLLM only when a replica starts, never in the driver.
"""

import argparse
import asyncio
import os
import uuid
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from callwright.errors import InvalidInput, StageFailed
from callwright.server import sources
from callwright.server.cache_watch import CacheWatch
from callwright.server.config import ServedModel, ServerConfig, served_ids
from callwright.server.dispatch import ASGIApp, Dispatch
from callwright.server.forced_calls import ForcedCalls
from callwright.server.scaling import FIRST_TOKEN_SECONDS
from callwright.server.versioned import Versioned
from callwright.store import Manifest
from callwright.store.model_folder import WITHOUT_CODE, loading

if TYPE_CHECKING:
    from callwright.server.first_tokens import FirstTokens

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""vLLM's `max_lora_rank`."""
_PICKLES = ("pt", "npcache")
_GPU_MEMORY = 0.92
"""Share of a GPU's memory that the engines of a replica take together: vLLM's default for one."""


class Replica:
    """One Serve replica; `config` is a dumped `ServerConfig` whose versions are exact."""

    async def __init__(self, config: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        self._config = ServerConfig.model_validate(config)
        _set_engine_environment(self._config)
        self._engines: list[Any] = []
        self._watches: list[CacheWatch] = []
        self._forced_calls: list[ForcedCalls] = []
        self._first_tokens: list[FirstTokens] = []
        self._app = await self._start()

    async def _start(self) -> ASGIApp:
        from callwright.server.first_tokens import FirstTokens

        models = self._config.models
        sources.hold_folders(self._config)
        configs = [_engine_config(model, self._config) for model in models]
        self._first_tokens = [FirstTokens() for _ in configs]
        started = [
            partial(_engine, arguments, engine_config, told)
            for (arguments, engine_config, _), told in zip(configs, self._first_tokens, strict=True)
        ]
        if self._config.device == "gpu":
            # One after the other: an engine measures the memory that is free, which a neighbour that loads falsifies.
            self._engines = [await asyncio.to_thread(start) for start in started]
        else:
            self._engines = await asyncio.gather(*map(asyncio.to_thread, started))
        await asyncio.gather(*map(_first_token, models, self._engines))
        self._watches = await asyncio.to_thread(_watches, self._config, [Path(each.model) for each, *_ in configs])
        seconds = self._config.forced_call_seconds
        self._forced_calls = [ForcedCalls(partial(_token, engine), seconds) for engine in self._engines]
        apps: dict[str, ASGIApp] = {}
        for model, engine, (arguments, _, manifest) in zip(models, self._engines, configs, strict=True):
            app = await _application(engine, arguments)
            if manifest is not None:
                app = Versioned(app, manifest, canary_weight=self._config.canary_weight)
            apps |= dict.fromkeys(_ids(model), app)
        return Dispatch(apps) if len(models) > 1 else next(iter(apps.values()))

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._app

    async def check_health(self) -> None:
        """Raise when an engine is dead or answers no forced call, or the cache is not what was published.

        Serve then replaces the replica.
        """
        if problems := [watch.problem for watch in self._watches if watch.problem]:
            raise StageFailed("; ".join(problems))
        for engine in self._engines:
            await engine.check_health()
        for forced_calls in self._forced_calls:
            forced_calls.check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return what `FirstTokenPolicy` scales by: the slowest engine's time to a first token, in seconds."""
        return {FIRST_TOKEN_SECONDS: max((each.seconds() for each in self._first_tokens), default=0.0)}

    def __del__(self) -> None:
        for watch in getattr(self, "_watches", ()):
            watch.stop()
        for engine in getattr(self, "_engines", ()):
            engine.shutdown()
        if config := getattr(self, "_config", None):
            sources.release(config)


def _ids(model: ServedModel) -> list[str]:
    """Return all ids of `model`, its version's `name@version` among them."""
    version = [] if model.name is None else [f"{model.name}@{model.version}"]
    return list(dict.fromkeys((*served_ids(model), *version)))


def _watches(config: ServerConfig, folders: list[Path]) -> list[CacheWatch]:
    """Return a watch over each version that is served from the cache."""
    seconds = {"look_seconds": config.cache_look_seconds, "verify_seconds": config.cache_verify_seconds}
    found = [
        (folder, sources.published_files(model, config, folder))
        for model, folder in zip(config.models, folders, strict=True)
    ]
    return [CacheWatch(folder, files, **seconds) for folder, files in found if files]


def _engine(arguments: Any, engine_config: Any, first_tokens: "FirstTokens") -> Any:
    """Start an engine, whose metrics are told where Ray's are: nobody reaches the replica's own."""
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

    return AsyncLLM.from_vllm_config(
        vllm_config=engine_config,
        enable_log_requests=False,
        disable_log_stats=arguments.disable_log_stats,
        stat_loggers=None if arguments.disable_log_stats else [RayPrometheusStatLogger, first_tokens],
    )


async def _first_token(model: ServedModel, engine: Any) -> None:
    """Have the engine generate a token before it is ready: much of it is compiled at the first request only.

    Raises `StageFailed`, and ends the engine, when it can't.
    """
    try:
        await _token(engine, forced=False)
    except Exception as error:
        engine.shutdown()
        raise StageFailed(f"starting the engine of model {model.id}: its first token failed: {error}") from error


async def _token(engine: Any, forced: bool) -> None:
    """Have the engine generate one token, of two that it is held to where that is `forced`."""
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt
    from vllm.sampling_params import StructuredOutputsParams

    held = StructuredOutputsParams(choice=["a", "b"]) if forced else None
    prompt, one = TokensPrompt(prompt_token_ids=[0]), SamplingParams(max_tokens=1, structured_outputs=held)
    async for _ in engine.generate(prompt, one, request_id=f"token-{uuid.uuid4().hex}"):
        pass


async def _application(engine: Any, arguments: Any) -> ASGIApp:
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.app import build_app

    tasks = await engine.get_supported_tasks()
    app = build_app(arguments, tasks, engine.model_config)
    await init_app_state(engine, app.state, arguments, tasks)
    # vLLM's handlers tell their own server to exit when the engine has died; here Serve's health check sees to it.
    app.state.server = SimpleNamespace(should_exit=False)
    return _unavailable_when_dead(app, engine)


def _unavailable_when_dead(app: ASGIApp, engine: Any) -> ASGIApp:
    """Return the application, whose 500 for the death of its engine becomes 503: another replica can answer the
    request.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def tell(message: Any) -> None:
            if message.get("status") == 500 and engine.errored:
                message["status"] = 503
            await send(message)

        await app(scope, receive, tell)

    return answer


def _set_engine_environment(config: ServerConfig) -> None:
    """vLLM reads these when it is imported, and its engine process inherits them."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if "AWS_ENDPOINT_URL" in os.environ:  # as our own store asks it
        os.environ.setdefault("RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING", "0")
    if config.device == "cpu":
        # One process for scheduling and computing instead of two: half the start and 0.5 GB less for each engine.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ["OMP_NUM_THREADS"] = str(config.engine_threads)


def _engine_config(model: ServedModel, config: ServerConfig) -> tuple[Any, Any, Manifest | None]:
    """vLLM's parsed arguments, its engine configuration, and the model's manifest, where there is one.

    Raises `InvalidInput` for a model that it can't serve.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs
    from vllm.entrypoints.openai.models.protocol import LoRAModulePath
    from vllm.usage.usage_lib import UsageContext

    path = sources.model_directory(model, config)
    adapters = {adapter.id: sources.adapter_directory(adapter, config) for adapter in model.adapters}
    with loading(path):
        try:
            engine_args = AsyncEngineArgs(**_engine_arguments(model, config, path, list(adapters.values())))
            engine_config = engine_args.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
        except (ValueError, TypeError) as error:
            if "trust_remote_code" in str(error):
                raise
            raise InvalidInput(f"starting the engine of model {model.id}: {_sentence(error)}") from None
    modules = [LoRAModulePath(name=name, path=str(folder)) for name, folder in adapters.items()]
    frontend = vars(FrontendArgs()) | {"lora_modules": modules or None}
    manifest = sources.manifest(model, config, path)
    if (
        (model.path is None or model.as_version)
        and manifest is not None
        and (template := manifest.template) is not None
    ):
        # Some templates write a content in parts otherwise than a text, and it was trained as a text.
        form = {"chat_template_content_format": "string", "default_chat_template_kwargs": template.arguments or None}
        frontend |= form
    return argparse.Namespace(**(frontend | vars(engine_args))), engine_config, manifest


def _engine_arguments(model: ServedModel, config: ServerConfig, path: Path, adapters: list[Path]) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": str(path),
        "served_model_name": [name for name in _ids(model) if name not in {each.id for each in model.adapters}],
        "dtype": model.engine.dtype,
        "tensor_parallel_size": model.engine.tensor_parallel_size,
    }
    if model.engine.max_model_len is not None:
        arguments["max_model_len"] = model.engine.max_model_len
    if config.device == "cpu":
        # Compiling takes longer than it saves on small models; a longer-lived server can turn it on in `extra`.
        arguments |= {
            "enforce_eager": True,
            "kv_cache_memory_bytes": config.kv_cache_bytes,
            "distributed_executor_backend": "uni" if model.engine.tensor_parallel_size == 1 else "mp",
        }
    elif len(config.models) > 1:
        arguments["gpu_memory_utilization"] = round(_GPU_MEMORY / len(config.models), 3)
    if (url := sources.weights_url(model, config)) is not None:
        sources.check_streamed(model, config)
        arguments["model_weights"] = url
    if adapters:
        # vLLM knows a few ranks; an adapter is padded to the next.
        rank = max(sources.adapter_rank(folder) for folder in adapters)
        ranks = [known for known in _RANKS if known >= rank]
        if not ranks:
            raise InvalidInput(f"serving adapters of {model.id}: rank {rank} is above {_RANKS[-1]}; merge them instead")
        arguments |= {"enable_lora": True, "max_loras": len(adapters), "max_lora_rank": ranks[0]}
    made = {"load_format": "safetensors"} | arguments | model.engine.extra
    if made["load_format"] in _PICKLES:
        raise InvalidInput(
            f"serving {model.id}: engine.extra.load_format: got {made['load_format']!r}, which reads pickles; expected "
            "safetensors"
        )
    if made.get("trust_remote_code"):
        raise InvalidInput(
            f"serving {model.id}: engine.extra.trust_remote_code: got true; expected none: a model's own Python is "
            "never run"
        )
    return made | WITHOUT_CODE


def _sentence(error: Exception) -> str:
    """Return the line of vLLM's error that says what is wrong; pydantic wraps it into several."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("Value error, ")]
    return (telling or lines)[0].removeprefix("Value error, ").split(" [type=")[0]
