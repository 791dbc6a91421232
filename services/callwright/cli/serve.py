"""`callwright serve`: a model version or a local model behind the OpenAI endpoint, until Ctrl-C."""

import contextlib
from pathlib import Path
from typing import Annotated, Literal

import typer

from callwright import spec
from callwright.cli import output
from callwright.cli.options import StoreOption, store_url
from callwright.errors import InvalidInput
from callwright.server import local
from callwright.server.config import ServedModel, ServerConfig
from callwright.spec.model import Engine


def serve(
    file: Annotated[Path | None, typer.Argument(help="FineTune whose promoted version is served.")] = None,
    model: Annotated[str | None, typer.Option(help="NAME or NAME@VERSION of a model in the store.")] = None,
    path: Annotated[Path | None, typer.Option(help="Directory of a model that is in no store.")] = None,
    dialect: Annotated[str | None, typer.Option(help="Dialect, over what the version's manifest says.")] = None,
    store: StoreOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the OpenAI endpoint.")] = 8100,
    engine_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the engine behind it.")] = 8000,
    default_max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of an answer whose client says none.")
    ] = None,
    thoughts: Annotated[
        Literal["reasoning", "content"],
        typer.Option(help="What clients get a thought as that the model marks (ReAct's `Thought:`)."),
    ] = "reasoning",
    gpu: Annotated[bool, typer.Option("--gpu", help="Compute on a GPU.")] = False,
    workdir: Annotated[Path, typer.Option(help="Where logs go.")] = Path(".callwright/serve"),
) -> None:
    """Serve a model with tool calls behind an OpenAI endpoint."""
    engine, spec_store = Engine(), None
    if sum(given is not None for given in (file, model, path)) != 1:
        raise InvalidInput("serving: expected exactly one of FILE, --model and --path")
    if file is not None:
        document = spec.load(file)
        model, engine = document.model_name, document.spec.deploy.engine
        spec_store = document.spec.store
        default_max_tokens = default_max_tokens or document.spec.deploy.default_max_tokens
    if path is not None:
        served = ServedModel(id=path.resolve().name, path=str(path), engine=engine)
    else:
        name, _, version = str(model).partition("@")
        served = ServedModel(id=name, name=name, version=version or "promoted", engine=engine)
    config = ServerConfig(
        models=(served,),
        port=engine_port,
        store=store_url(store, spec_store),
        device="gpu" if gpu else "cpu",
    )
    output.note(f"starting the engine for {served.id}; logs in {workdir}")
    overrides = {served.id: dialect} if dialect else {}
    settings = {"default-max-tokens": default_max_tokens, "thoughts": thoughts}
    with local.serving(config, workdir=workdir, port=port, dialects=overrides, settings=settings) as stack:
        output.note(f"{served.id} is served at {stack.base_url}; Ctrl-C stops it")
        with contextlib.suppress(KeyboardInterrupt):
            stack.wait()
