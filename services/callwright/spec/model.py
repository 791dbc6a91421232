"""The FineTune document as pydantic models. The text under a field is its only documentation.

A field added here appears in the CRD, the charts' schemas and docs/finetune.md with `make crd`. YAML keys are camelCase
and attributes snake_case. The defaults are those of the ms-swift agent recipe.
"""

import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

API_VERSION = "callwright.io/v1alpha1"

DialectName = Literal[
    "native", "react_en", "react_zh", "toolbench", "ms_agent", "agentfabric", "hermes",
    "qwen_xml", "gemma", "functiongemma", "llama_json",
    "mistral", "mistral_v11", "mistral_v3", "lfm2", "olmo3", "pythonic",
]  # fmt: skip
DataFormat = Literal["auto", "ms_agent", "openai", "swift", "toolbench", "alpaca", "bfcl"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=52)]
ObjectName = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253)
]
_LABEL_KEY = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$"
)
LabelKey = Annotated[str, Field(pattern=_LABEL_KEY, max_length=317)]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$", max_length=63)]
StoreURL = Annotated[
    str, Field(pattern=r"^(file://(localhost)?/[^?#]*|(s3|gs|az)://[^/?#]+(/[^?#]*)?|memory://[^?#]*)$")
]
_UNIT = r"(k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?"
Quantity = Annotated[str, Field(pattern=rf"^[0-9]+(\.[0-9]+)?(m|{_UNIT})$")]
"""A quantity of Kubernetes, such as `500m` or `8Gi`."""
RESERVED = (
    "bin", "boot", "data", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "scratch", "sys", "tmp", "usr", "var",
)  # fmt: skip
"""Folders at the root of a run's pods that are the system's, or the pods' own."""


class SpecModel(BaseModel):
    """Base of all models here: frozen, refuses unknown keys, describes a field by the docstring below it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class Base(SpecModel):
    model: str = Field(min_length=1)
    """Base model: a local directory, a store URL (`s3://…`), or a Hugging Face id."""
    revision: str | None = None
    """Revision of a Hugging Face id; the newest when absent."""
    template_arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the base's chat template, by the template's own names, such as `enable_thinking: false`. The
    version keeps them: serving renders with the same. A template that prints today's date is given a fixed one as
    `date_string`, where it takes that."""

    @model_validator(mode="after")
    def _arguments_are_json(self) -> Self:
        for name, value in self.template_arguments.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                raise ValueError(f"templateArguments.{name} is no JSON value; put a date in quotes") from None
        return self


class Source(SpecModel):
    path: str = Field(min_length=1)
    """Conversations: a file relative to the working directory (JSON Lines, JSON, CSV, all in UTF-8, or Parquet; gzip,
    zstd, bzip2), a store URL, `hf://datasets/OWNER/NAME/FILE` or `modelscope://OWNER/NAME/FILE`."""
    format: DataFormat = "auto"
    """How the rows are written; `auto` looks at the first row."""
    count: Annotated[int, Field(ge=1)] | None = None
    """Rows to sample; all when absent. More than the file has means sampling with repetition."""
    ratio: Annotated[float, Field(gt=0)] | None = None
    """Rows to sample as a multiple of the first source's rows (the recipe's replay is 2.0). Excludes `count`."""

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if self.count is not None and self.ratio is not None:
            raise ValueError("count and ratio exclude each other; keep one")
        return self


class SelfCognition(SpecModel):
    name: str
    """What the model calls itself."""
    author: str
    """Who it says has made it."""
    count: int = Field(default=3000, ge=1)
    """Rows to add."""


class LossWeights(SpecModel):
    preset: Literal["react", "last_turn", "all", "none"] = "react"
    """`react`: weights by kind of segment, as below; `last_turn`: only the last assistant turn; `all`: every assistant
    token alike, results excepted; `none`: every assistant token alike, results included (ms-swift's default)."""
    action: float = Field(default=2.0, ge=0)
    """Weight of `Action:` and the tool's name (preset `react`)."""
    action_input: float = Field(default=2.0, ge=0)
    """Weight of `Action Input:` and the arguments (preset `react`)."""
    thought: float = Field(default=1.0, ge=0)
    """Weight of `Thought:` and what follows (preset `react`)."""
    reasoning: float = Field(default=1.0, ge=0)
    """Weight of what stands in a think block, `<think>` and `</think>` included (preset `react`)."""
    final: float = Field(default=1.0, ge=0)
    """Weight of `Final Answer:` or `Answer:`, of what follows, and of plain replies (preset `react`)."""
    observation_marker: float = Field(default=2.0, ge=0)
    """Weight of the word `Observation:` itself, which teaches the model to stop there (preset `react`)."""
    observation: float = Field(default=0.0, ge=0)
    """Weight of the result after `Observation:`: the model must not learn to invent results (preset `react`)."""


class Data(SpecModel):
    sources: tuple[Source, ...] = Field(min_length=1)
    """The corpora to mix, tool-use first, replay after it."""
    self_cognition: SelfCognition | None = None
    """Rows that teach the model its name and author."""
    test_fraction: float = Field(default=0.01, ge=0, lt=1)
    """Share of the rows kept from training as the run's own test split, taken from each source alike."""
    max_length: int = Field(default=1500, ge=16)
    """Tokens of the longest conversation to train on."""
    too_long: Literal["drop", "cut", "fail"] = "drop"
    """A longer one: leave it out, cut it at a turn, or fail. Dropped and cut rows are counted."""
    strict: Literal["fail", "drop", "keep"] = "drop"
    """A faulty row: fail, leave it out, or keep it where it can still be read. Always counted and reported."""
    loss: LossWeights = LossWeights()
    """The loss weight of each kind of token; times that of its turn, where the row gives one as `weight` (also
    `loss_weight`, `loss_scale`), or as `train` or `loss`, true or false."""
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Seed of sampling, splitting and shuffling."""


class Lora(SpecModel):
    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of the two factors."""
    alpha: float = Field(default=32, gt=0)
    """Scale: the product is multiplied by alpha / rank."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Dropout on the adapter's input."""
    targets: Literal["all-linear", "all"] | tuple[str, ...] = "all-linear"
    """Modules to adapt: `all-linear` is every linear layer (head excepted), `all` has the input embeddings too; or a
    list of module names."""
    modules_to_save: tuple[str, ...] = ()
    """Modules to train whole beside the factors, by name; they become part of the adapter."""
    rslora: bool = False
    """Rank-stabilised scale: alpha / sqrt(rank) instead of alpha / rank."""
    dora: bool = False
    """Train each weight's magnitude apart from its direction: often better at low ranks, and slower."""
    quantize: Literal["none", "nf4"] = "none"
    """Hold the base in 4 bits while training (QLoRA): far less memory; needs a GPU and bitsandbytes."""


class Train(SpecModel):
    learning_rate: float = Field(default=5e-5, gt=0)
    """Peak learning rate."""
    epochs: float = Field(default=2, gt=0)
    """Passes over the training split; `steps` takes precedence."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps in all, instead of epochs."""
    batch_size: int = Field(default=2, ge=1)
    """Sequences a worker takes through the model at once."""
    sequences_per_step: int = Field(default=32, ge=1)
    """Sequences an optimizer step sees in all, over every worker and accumulation."""
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    """Share of the steps with a rising learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after warm-up."""
    weight_decay: float = Field(default=0.1, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=0.5, gt=0)
    """Gradients are scaled down to this norm."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: slower, with much less memory."""
    packing: bool = True
    """Take sequences through the model one after the other in one row, without attending to each other and without
    padding, where the base allows it; same loss and gradients, less work."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Dtype of the forward pass: `auto` is bfloat16 on a GPU that computes in it, else float32."""
    sharding: Literal["auto", "none", "full"] = "auto"
    """How workers hold the base: `none`, each the whole (DDP); `full`, each a share of every layer, gathered when it is
    needed (FSDP2); `auto`, `full` where the whole does not fit one worker's device."""
    neftune_alpha: Annotated[float, Field(gt=0)] | None = None
    """Strength of NEFTune's noise on the embeddings; none when absent."""
    eval_steps: int = Field(default=100, ge=1)
    """Steps between evaluations on the test split."""
    save_steps: int = Field(default=100, ge=1)
    """Steps between checkpoints."""
    save_total_limit: int = Field(default=2, ge=1)
    """Newest checkpoints kept; the one with the least evaluation loss is kept beside them."""
    publish: Literal["last", "best"] = "last"
    """Checkpoint that becomes the adapter: the last, or the one with the least evaluation loss."""
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Evaluations in a row without a lower loss after which training ends; never when absent."""
    log_steps: int = Field(default=10, ge=1)
    """Steps between metric lines."""
    report_to: tuple[Literal["mlflow", "wandb"], ...] = ()
    """Trackers to tell the metrics beside the files and TensorBoard's events. Each needs its package where training
    starts, and its own variables, such as MLFLOW_TRACKING_URI or WANDB_API_KEY."""
    max_failures: int = Field(default=3, ge=0)
    """Times that a broken training is restarted from its newest checkpoint."""
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Seed of adapter weights, dropout and order."""


class Toleration(SpecModel):
    key: LabelKey | None = None
    """Taint key; every taint, with the operator `Exists`, when absent."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How the value is compared."""
    value: LabelValue | None = None
    """Taint value; goes with the operator `Equal` only."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; all when absent."""

    @model_validator(mode="after")
    def _compares(self) -> Self:
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration without a key needs the operator Exists")
        if self.operator == "Exists" and self.value:
            raise ValueError("a toleration with the operator Exists takes no value")
        return self


class Resources(SpecModel):
    workers: int = Field(default=1, ge=1)
    """Training workers, each with its share of a step's sequences."""
    gpus_per_worker: float = Field(default=0, ge=0)
    """GPUs of a worker; 0 trains on the CPU."""
    gpus_per_pod: Annotated[int, Field(ge=1)] | None = None
    """GPUs of a pod on a cluster, such as all of a node: so many workers share it and speak over NVLink. A worker has a
    pod of its own when absent."""
    cpus_per_worker: float = Field(default=1, ge=0.001)
    """CPUs of a worker."""
    memory_per_worker: str = Field(
        default="8Gi", pattern=rf"^([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*){_UNIT}$"
    )
    """Memory of a worker's pod on a cluster, as a Kubernetes quantity."""
    node_selector: dict[str, LabelValue] = Field(default_factory=dict)
    """Labels of the nodes that training may use on a cluster."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that training tolerates on a cluster."""

    @model_validator(mode="after")
    def _fills_pods(self) -> Self:
        if self.gpus_per_pod is not None and (
            self.gpus_per_worker < 1
            or self.gpus_per_worker % 1
            or self.gpus_per_pod % self.gpus_per_worker
            or self.workers * self.gpus_per_worker % self.gpus_per_pod
        ):
            raise ValueError(
                f"gpusPerPod {self.gpus_per_pod} must hold whole workers, and the {self.workers} workers of "
                f"{self.gpus_per_worker:g} GPUs must fill whole pods"
            )
        return self

    @model_validator(mode="after")
    def _selects_labels(self) -> Self:
        if odd := [key for key in self.node_selector if not re.match(_LABEL_KEY, key)]:
            raise ValueError(f"nodeSelector has {odd[0]!r}, which no label can be named")
        return self


class Mount(SpecModel):
    path: str = Field(pattern=r"^(/([^/.:][^/:]*|\.[^/.:][^/:]*|\.\.[^/:]+))+$", max_length=256)
    """Folder in the pods of the run, such as `/dataset`; sources may name files below it. Neither in a folder of the
    system or of the pods' own (`/tmp`, `/scratch`, `/data`), nor in another mount."""
    config_map: ObjectName | None = None
    """ConfigMap whose keys are the files. Excludes `claim`."""
    claim: ObjectName | None = None
    """PersistentVolumeClaim that is mounted, read-only. Excludes `configMap`."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.config_map is None) == (self.claim is None):
            raise ValueError("a mount needs either configMap or claim")
        if (top := self.path.split("/")[1]) in RESERVED:
            raise ValueError(f"no mount can be in /{top}, which the pod has already")
        return self


class Cluster(SpecModel):
    secret: ObjectName | None = None
    """Secret whose keys become environment variables of the run's pods (store keys, HF_TOKEN), one that the release
    allows; the controller's choice when absent."""
    service_account: ObjectName | None = None
    """Service account of the run's pods, one that the release allows; the controller's choice when absent."""
    mounts: tuple[Mount, ...] = Field(default=(), max_length=32)
    """Data that the run's pods find as files."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        paths = [mount.path for mount in self.mounts]
        for index, path in enumerate(paths):
            for other in paths[:index] + paths[index + 1 :]:
                if f"{other}/".startswith(f"{path}/"):
                    raise ValueError(f"no mount can be in another: {path} and {other}")
        return self


class Merge(SpecModel):
    dtype: Literal["base", "float32", "bfloat16", "float16"] = "base"
    """Dtype of the merged weights; `base` keeps each tensor's own."""
    shard_bytes: int = Field(default=5_000_000_000, ge=1_000_000)
    """Largest size of an output shard, in bytes."""
    tolerance: float = Field(default=0.05, gt=0)
    """Largest difference allowed between probe logits of base + adapter and of the merged weights, in deviations of the
    logits: all of it where bfloat16 rounds what the check can't round alike, a tenth where it can, less in float32."""


class EvaluationSet(SpecModel):
    name: Name
    """Name in the report, and in the gate."""
    path: str = Field(min_length=1)
    """Rows with gold calls, in any data format; with `auto` also one of ToolAlpaca's own evaluation files."""
    format: DataFormat = "auto"
    """How the rows are written."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """First rows to use; all when absent."""


class Gate(SpecModel):
    min_accuracy: float = Field(default=0.0, ge=0, le=1)
    """Least share of requests with the right tool and every argument equal, over all sets."""
    max_malformed: float = Field(default=1.0, ge=0, le=1)
    """Largest share of requests answered with a call that cannot be read."""
    max_regression: float = Field(default=1.0, ge=0, le=1)
    """Largest loss of accuracy against the promoted version."""
    max_forgetting: Annotated[float, Field(ge=0)] | None = None
    """Largest rise of the loss on general conversations against the base, in nats per token; any when absent."""


class Evaluate(SpecModel):
    sets: tuple[EvaluationSet, ...] = ()
    """Sets to measure; the run's own test split when empty."""
    compare_base: bool = True
    """Measure the base model beside the candidate. Models that are measured together share GPUs and their memory."""
    concurrency: int = Field(default=16, ge=1, le=1024)
    """Requests of each model under way at once."""
    max_tokens: int = Field(default=512, ge=1)
    """Tokens that an answer may have."""
    gate: Gate = Gate()
    """What a candidate must reach to be promoted."""
    promote: Literal["auto", "manual", "never"] = "auto"
    """Promote a candidate that passes the gate: at once, when somebody says so, or not at all."""


NO_ENGINE_OPTIONS = frozenset((
    "code_revision", "compilation_config", "ec_transfer_config", "hf_config_path", "io_processor_plugin",
    "kv_transfer_config", "log_config_file", "logging_config", "logits_processors", "model", "model_class_overrides",
    "model_loader_extra_config", "model_weights", "reasoning_parser_plugin", "revision", "scheduler_cls",
    "served_model_name", "tokenizer", "tokenizer_revision", "trust_remote_code", "weight_transfer_config", "worker_cls",
    "worker_extension_cls",
))  # fmt: skip
"""vLLM's arguments that name a module or a plugin, or replace what is served."""
_NO_INNER_OPTIONS = frozenset(("architectures", "auto_map", "reasoning_parser_plugin", "trust_remote_code"))
"""What none of them may hold, such as `structured_outputs_config` and `hf_overrides`."""


class Engine(SpecModel):
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Dtype in which the engine computes."""
    max_model_len: Annotated[int, Field(ge=16)] | None = None
    """Longest prompt and answer together, in tokens; the model's own when absent."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share one replica's weights."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further vLLM engine arguments, by vLLM's names; none that loads code or says what is served. On a cluster those
    that the chart's `runs.allowed.engineOptions` lists."""

    @model_validator(mode="after")
    def _loads_no_code(self) -> Self:
        odd = sorted(NO_ENGINE_OPTIONS & self.extra.keys()) + sorted(_NO_INNER_OPTIONS & _inner_keys(self.extra))
        if "." in str(self.extra.get("distributed_executor_backend", "")):  # a class, by its module
            odd.append("distributed_executor_backend")
        if odd:
            raise ValueError(f"extra cannot have {odd[0]}: it makes the engine load code, or serve something else")
        return self


def _inner_keys(value: Any) -> set[str]:
    """Return the keys of all objects in a value."""
    if isinstance(value, dict):
        return {str(key) for key in value}.union(*map(_inner_keys, value.values()))
    return set[str]().union(*map(_inner_keys, value)) if isinstance(value, list) else set()


class Canary(SpecModel):
    weight: int = Field(default=10, ge=1, le=50)
    """Share of the model's requests that the candidate takes, in percent: by their user or conversation where a request
    names one, else by chance."""
    minutes: int = Field(default=30, ge=1, le=1440)
    """How long, from its first healthy minute on. With too few requests by then it is as long again."""
    max_malformed_rate: float = Field(default=0.05, ge=0, le=1)
    """Largest share of its tool calls that cannot be read."""
    max_error_rate: float = Field(default=0.05, ge=0, le=1)
    """Largest share of its answers that fail: a 5xx, or an error within a stream."""
    max_ttft_seconds: float = Field(default=10.0, gt=0)
    """Longest time to the first token of a stream, which 95 % of them must keep."""


class Deploy(SpecModel):
    model: Name | None = None
    """Name of the served model in the store and in the OpenAI API; the document's own name when absent."""
    service: Name | None = None
    """RayService on the cluster that takes the version, which is promoted once it is served there, and taken back where
    it does not start; none is touched when absent."""
    canary: Canary | None = None
    """Before it is promoted, the candidate takes a share of the requests beside the version that stands, and is taken
    back where its figures go over a bound. Needs `deploy.service`, and `evaluate.promote` as `auto`; nothing is tried
    when absent."""
    min_replicas: int = Field(default=1, ge=0)
    """Fewest engine replicas."""
    max_replicas: int = Field(default=1, ge=1)
    """Most engine replicas."""
    target_ongoing_requests: int = Field(default=32, ge=1)
    """Requests per replica that autoscaling aims at."""
    default_max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Most tokens of an answer whose client says none, where `callwright serve` serves it; as many as the context has
    room for when absent. On a cluster the chart's `sidecar.defaultMaxTokens`."""
    engine: Engine = Engine()
    """The vLLM engine's settings."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"minReplicas {self.min_replicas} is above maxReplicas {self.max_replicas}")
        return self


class FineTuneSpec(SpecModel):
    base: Base
    """The model to start from."""
    dialect: DialectName | None = None
    """How tools, calls and results are written, in training and in serving alike. `native` is what the base's own chat
    template writes, or `react_en` where that shows no tools; it fails where that writes calls in a way that nothing
    here reads. When absent it is `native`, with `react_en` in that case too."""
    store: StoreURL | None = None
    """Object store URL, names in it percent-encoded; `CALLWRIGHT_STORE`, else `file://` in the working directory, when
    absent."""
    data: Data
    """What to train on."""
    lora: Lora = Lora()
    """The adapter."""
    train: Train = Train()
    """The optimization."""
    resources: Resources = Resources()
    """What training runs on."""
    cluster: Cluster = Cluster()
    """What the run's pods need on a cluster; means nothing elsewhere."""
    merge: Merge = Merge()
    """How adapter and base become one model."""
    evaluate: Evaluate = Evaluate()
    """How the candidate is measured, and the gate that it must pass."""
    deploy: Deploy = Deploy()
    """How the promoted version is served."""
    suspend: bool = False
    """Hold the run on a cluster: nothing new starts while this is true."""

    @model_validator(mode="after")
    def _canary_has_a_service(self) -> Self:
        if self.deploy.canary is not None and (self.deploy.service is None or self.evaluate.promote != "auto"):
            raise ValueError("deploy.canary needs deploy.service, and evaluate.promote as auto")
        return self

    @model_validator(mode="after")
    def _steps_divide(self) -> Self:
        per_pass = self.resources.workers * self.train.batch_size
        if self.train.sequences_per_step % per_pass:
            raise ValueError(
                f"train.sequencesPerStep {self.train.sequences_per_step} is no multiple of "
                f"resources.workers x train.batchSize = {per_pass}"
            )
        return self


class Metadata(SpecModel):
    model_config = ConfigDict(extra="ignore")

    name: Name
    """Name of the run and, by default, of the model."""
    namespace: str | None = None
    """Namespace on a cluster."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels. Kueue's (`kueue.x-k8s.io/…`) are copied to what the run makes on a cluster, pods excepted."""


class FineTune(SpecModel):
    api_version: Literal["callwright.io/v1alpha1"]
    """Version of this document's schema."""
    kind: Literal["FineTune"]
    """Kind of this document."""
    metadata: Metadata
    """Its name."""
    spec: FineTuneSpec
    """What to do."""
    status: dict[str, Any] | None = Field(default=None, exclude=True)
    """Written by the controller, ignored here."""

    @property
    def model_name(self) -> str:
        """Name of the model in the store and in the OpenAI API."""
        return self.spec.deploy.model or self.metadata.name
