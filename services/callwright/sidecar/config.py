"""`SidecarConfig`: where the engine is, which dialect each model speaks, and the limits of what is let in.

Knows nothing of HTTP. Flags of `python -m callwright.sidecar` bear the same names.
"""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from callwright.errors import InvalidInput

JSON_FACTOR = 4
"""What is read as JSON is there several times while it is translated: its bytes, what they say, and both once more."""
GENERATING_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses")
ENGINE_PATHS = {
    "GET": ("/v1/models", "/health"),
    "POST": (*GENERATING_PATHS, "/v1/messages/count_tokens", "/v1/embeddings", "/tokenize", "/detokenize"),
}
"""What is passed on to the engine, by method: nothing that it keeps. The rest of an engine's paths, to sleep or to load
what clients name, is its operator's."""


def _with_port(url: str) -> str:
    """Raises `ValueError` for a port that is none."""
    _ = urlsplit(url).port
    return url


ToolNames = Literal["plain", "hashed", "off"]


class SidecarConfig(BaseModel):
    """How one sidecar runs."""

    # Not spec's Part: with the FineTune document's models it would cost every sidecar 2 MB.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8100
    """Port to listen on."""
    upstream: Annotated[str, Field(pattern=r"^https?://[^/@?#\s]+$"), AfterValidator(_with_port)] = (
        "http://127.0.0.1:8000"
    )
    """The engine: scheme, host and port."""
    engine_paths: tuple[Annotated[str, Field(pattern=r"^[A-Z]+ /[\w.~/-]+$")], ...] = ()
    """Further paths of the engine that are passed on, such as `POST /v1/audio/transcriptions`, parted by commas. All
    but OpenAI's and Anthropic's for text, tokenizing and `/health` are 404."""
    store: str | None = None
    """Object store URL whose manifests say each model's dialect."""
    models: dict[str, str] = Field(default_factory=dict)
    """Model in the store, as `name` or `name@version`, for ids that are not themselves such."""
    dialects: dict[str, str] = Field(default_factory=dict)
    """Dialect by model id, over what the manifests say; `*` stands for every other id."""
    null_tool_choice: Literal["auto", "none"] = "auto"
    """What `"tool_choice": null` means: `auto`, as when it is left out, or `none`, as ms-swift reads it."""
    thoughts: Literal["reasoning", "content"] = "reasoning"
    """What a thought that the model marks (ReAct's `Thought:`) is to clients: `reasoning`, as a think block is and
    which they may drop from an earlier turn, or `content`, which they keep."""
    enforce: bool = True
    """Constrain decoding to a valid call where the request demands one: `required`, a named tool, `strict`."""
    default_max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of a chat's answer whose client says none; without it the engine's own default, which is all that the
    context has room for."""
    stored_responses: int = Field(default=0, ge=0)
    """Responses of requests with functions that are kept in memory, for clients that go on with one by
    `previous_response_id`; a request's `store: false` keeps it out. None by default, and none of another sidecar."""
    stored_response_seconds: float = Field(default=3600.0, gt=0)
    """How long one is kept."""
    max_stored_bytes: int = Field(default=64 * 1024**2, ge=1024)
    """Bytes that all of them take; the oldest go first."""
    strict_fields: bool = False
    """Refuse requests with tools that have fields which are not known here. Else these are left out, or go on to the
    engine in chat completions, whose own it may be; the header `x-callwright-left-out` names what is left out, known
    fields that change no answer too."""
    retry_malformed_calls: bool = False
    """Let the model try once more where it wrote a malformed call and no other, told why as a tool's result; a request
    says otherwise in its field of that name. Not with `n` over 1."""
    manifest_seconds: float = Field(default=10.0, gt=0)
    """After how long a manifest, and which version is promoted, is looked at again, beside the requests."""
    canary_seconds: float | None = Field(default=None, gt=0)
    """After how long it is looked again, beside the requests, whether a canary is there: a version that takes a share
    of them for a trial, below `/canary` of the engine. Nobody looks when absent."""
    max_connections: int = Field(default=2048, ge=1)
    """Open connections; a further one takes the place of the one that has asked nothing for longest, and gets 503 where
    all ask."""
    max_head_bytes: int = Field(default=64 * 1024, ge=1024)
    """Largest head of a request, its URL included: 431 above it."""
    head_seconds: float = Field(default=15.0, gt=0)
    """Time for a head, from the opening of the connection or the head's first byte on: then 408, or without a byte the
    connection's end."""
    body_silent_seconds: float = Field(default=30.0, gt=0)
    """Longest silence of a client within a body: then 408."""
    unread_seconds: float = Field(default=300.0, gt=0)
    """Time in which a client must take some of an answer that waits for it; then its connection is ended."""
    max_body_bytes: int = Field(default=8 * 1024**2, ge=1024)
    """Largest request body."""
    max_held_bytes: int = Field(default=128 * 1024**2, validate_default=True)
    """Bytes that bodies and answers of all requests hold together, also those that wait for their turn: 429 with
    `Retry-After` above it. At least four times the largest body, as one that is translated is there so often."""
    max_values: int = Field(default=200_000, ge=1000)
    """Most values, one within the other, of a request's JSON."""
    max_messages: int = Field(default=4096, ge=1)
    """Most messages of a request."""
    max_tools: int = Field(default=512, ge=1)
    """Most tools of a request."""
    max_schema_depth: int = Field(default=48, ge=2)
    """Deepest nesting of a tool's parameters."""
    max_grammar_cost: int = Field(default=3000, ge=1)
    """Most that the schemas of a request may cost the engine as a grammar, and their patterns and lengths of texts once
    more: about the milliseconds that a slow core takes. What is over it is left out, which the header
    `x-callwright-left-out` says, or refused where the form is the client's own."""
    client_grammars: bool = False
    """Let clients send grammars of their own (`structured_outputs.grammar`), whose cost can't be told beforehand."""
    max_choices: int = Field(default=64, ge=1)
    """Most choices (`n`, `best_of`) of a request."""
    max_prompts: int = Field(default=256, ge=1)
    """Most prompts of a completion, times its choices, and most texts to embed."""
    max_logprobs: int = Field(default=20, ge=0)
    """Most log probabilities of a token."""
    max_stops: int = Field(default=64, ge=1)
    """Most stop strings, and bad words, of a request."""
    max_stop_characters: int = Field(default=1024, ge=1)
    """Longest stop string."""
    max_token_ids: int = Field(default=1024, ge=1)
    """Most tokens that a request names: biased, allowed alone, or to stop at."""
    max_concurrent: int = Field(default=512, ge=1)
    """Requests that the engine gets at once."""
    max_queued: int = Field(default=512, ge=0)
    """Requests that wait for their turn; more get 429 with `Retry-After`."""
    connect_seconds: float = Field(default=2.0, gt=0)
    """Time for a connection to the engine, after which it counts as down: 503 with `Retry-After`, as at once when it
    refuses."""
    first_token_seconds: float = Field(default=120.0, gt=0)
    """Time for the first byte of a stream, and for an answer that needs no tokens: 504, or an error event. An answer
    that comes whole comes after its last token, so only `silent_seconds` bounds it."""
    forced_call_seconds: float = Field(default=60.0, gt=0)
    """How long a request that holds the engine to a form may wait for the answer's first byte; then readiness asks for
    such a token itself, and fails while it gets a plain one and none so held."""
    silent_seconds: float = Field(default=600.0, gt=0)
    """Longest silence of the engine within a request: 504, or an error event within a stream."""
    breaker_failures: int = Field(default=5, ge=1)
    """Requests in a row without an answer after which the engine is left alone: 503 with `Retry-After`."""
    breaker_seconds: float = Field(default=5.0, gt=0)
    """How long, and then how often a request goes through to see whether it answers again."""
    keep_alive_seconds: float = Field(default=15.0, gt=0)
    """Silence of a stream after which a comment keeps the client's connection alive, also before its first event, while
    it waits for its turn or for a replica; what goes wrong later is an event of it."""
    drain_seconds: float = Field(default=120.0, ge=0)
    """How long open streams may go on after SIGTERM."""
    tool_names: ToolNames = "hashed"
    """How tools stand in the metrics, which ask for no key: `plain` by name, `hashed` by the first 12 digits of the
    name's SHA-256, or `off`."""
    max_tool_labels: int = Field(default=200, ge=1)
    """Tools that the metrics tell apart; later ones are `other`."""
    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://.+$")] | None = None
    """OpenTelemetry collector, such as `http://collector:4318`, that gets a span for each request."""
    api_keys_file: str | None = Field(default=None, min_length=1)
    """File with an API key a line, alone or as `NAME: KEY` with any of `models=ID,ID`, `requests-per-minute=N` and
    `tokens-per-minute=N` behind it; `#` before a comment. Read again when it changes; a minute after it has gone nobody
    may come in by it. Everybody may without this and `api_keys`."""
    api_keys: tuple[SecretStr, ...] | None = None
    """Further keys. No flag: the environment variable `CALLWRIGHT_API_KEYS` holds them, parted by commas or spaces; set
    without one it is an error."""
    audit: bool = True
    """Write a line of JSON to standard output for each request: whose key, which model, tokens, calls and outcome, and
    nothing of what was said."""
    cors_origins: tuple[Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\sA-Z]+)$")], ...] = ()
    """Origins whose pages may ask, such as `https://chat.example.com`, parted by commas; `*` for all. Without it the
    engine's own answer stands."""

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _from_commas(cls, value: Any) -> Any:
        """A flag's text is a list too, but none of nothing: without origins the engine's own answer would
        stand.
        """
        if not isinstance(value, str):
            return value
        if not (origins := value.replace(",", " ").split()):
            raise ValueError("got none; expected at least one origin, or no such flag")
        return origins

    @field_validator("engine_paths", mode="before")
    @classmethod
    def _paths_from_commas(cls, value: Any) -> Any:
        """A flag's text is a list too."""
        return [path.strip() for path in value.split(",")] if isinstance(value, str) else value

    @field_validator("max_held_bytes")
    @classmethod
    def _has_room(cls, value: int, info: ValidationInfo) -> int:
        least = JSON_FACTOR * int(info.data.get("max_body_bytes", 0))
        if value < least:
            raise ValueError(f"got {value}; expected {least} or more, {JSON_FACTOR} times max_body_bytes")
        return value

    @field_validator("models", "dialects", mode="before")
    @classmethod
    def _from_pairs(cls, value: Any) -> Any:
        """A list of `ID=NAME` is a mapping too: so flags write it."""
        if not isinstance(value, list):
            return value
        pairs = [text.rpartition("=") for text in value]
        if wrong := [f"{key}{sign}{name}" for key, sign, name in pairs if not (key and name)]:
            raise ValueError(f"got {wrong[0]!r}; expected ID=NAME")
        return {key: name for key, _, name in pairs}


def check(values: dict[str, Any]) -> SidecarConfig:
    """Return the configuration of `values`. Raises `InvalidInput` with one line per problem."""
    try:
        return SidecarConfig.model_validate(values)
    except ValidationError as error:
        problems = tuple(f"{e['loc'][0]}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors())
        raise InvalidInput("configuring the sidecar", problems) from None
