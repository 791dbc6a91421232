"""The controller's configuration: one closed document, written by the chart, each fact documented under its field.

Knows nothing of clusters; `__main__` reads the file that holds it.
"""

from itertools import permutations
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from callwright.spec.model import ObjectName, Quantity, SpecModel, StoreURL
from callwright.store.url import StoreURL as Place

ENGINE_OPTIONS = (
    "async_scheduling", "attention_backend", "block_size", "cpu_offload_gb", "cudagraph_capture_sizes",
    "disable_cascade_attn", "disable_custom_all_reduce", "disable_log_stats", "disable_sliding_window",
    "enable_chunked_prefill", "enable_expert_parallel", "enable_prefix_caching", "enforce_eager",
    "gpu_memory_utilization", "kv_cache_dtype", "kv_cache_memory_bytes", "long_prefill_token_threshold",
    "max_cudagraph_capture_size", "max_logprobs", "max_num_batched_tokens", "max_num_scheduled_tokens", "max_num_seqs",
    "num_gpu_blocks_override", "optimization_level", "performance_mode", "prefix_caching_hash_algo", "quantization",
    "scheduling_policy", "seed", "stream_interval",
)  # fmt: skip
"""vLLM's arguments that say how fast and in how much memory it computes, and nothing else: they name no file, no
module, no address and no port."""
DATA_ROOTS = ("/dataset", "/data", "/mnt")
"""Folders that data may be mounted below."""


def below(path: str, folder: str) -> bool:
    """Return whether `path` is `folder` or in it, written without `.`, `..`, or a doubled slash."""
    return not {"", ".", ".."} & set(path.split("/")[1:]) and f"{path}/".startswith(f"{folder}/")


class Images(SpecModel):
    trainer: str = Field(min_length=1)
    """Image of the preparation Job, Ray head, Ray workers and submitter."""
    merger: str = Field(min_length=1)
    """Image of the merge Job."""
    evaluator: str = Field(min_length=1)
    """Image of the evaluation Job."""
    server: str = Field(min_length=1)
    """Image of the engine that the evaluation Job measures."""
    sidecar: str = Field(min_length=1)
    """Image of the tool-call sidecar in front of that engine."""
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When the kubelet pulls."""
    pull_secrets: tuple[str, ...] = ()
    """Secrets with registry credentials, in the namespace of each run."""


class PodSize(SpecModel):
    cpu: Quantity
    """CPU, requested."""
    memory: Quantity
    """Memory, requested and limited."""


PodPart = Literal["prepare", "head", "workers", "submitter", "merge", "evaluate"]
"""The pods of a run that differ."""


class DeadlineSeconds(SpecModel):
    prepare: int = Field(default=12 * 3600, ge=60)
    """Of the preparation Job."""
    train: int = Field(default=7 * 86400, ge=60)
    """Of the RayJob, with its wait for nodes."""
    merge: int = Field(default=6 * 3600, ge=60)
    """Of the merge Job."""
    evaluate: int = Field(default=12 * 3600, ge=60)
    """Of the evaluation Job."""
    deploy: int = Field(default=2 * 3600, ge=60)
    """Of a RayService that takes the version, which is taken back then; a canary's minutes come on top."""


class Rdma(SpecModel):
    resource: str = Field(min_length=3)
    """Name of the nodes' RDMA devices as a resource, as their device plugin has it: `rdma/hca`, `rdma/ib`."""
    count: int = Field(default=1, ge=1, le=64)
    """Of them, for each pod."""
    ipc_lock: bool = True
    """Add the capability IPC_LOCK, to pin memory."""


class RunPods(SpecModel):
    service_account: str | None = None
    """Service account of the pods of a run, for cloud identities; the namespace's default when absent."""
    secret: str = "callwright-run"
    """Secret in a run's namespace whose keys become environment variables (store keys, HF_TOKEN), if it exists."""
    claim: str | None = None
    """PersistentVolumeClaim in a run's namespace, mounted at `/data`, for `file:///data/…` stores and data."""
    scratch: Quantity = "100Gi"
    """Size limit of the scratch volume of each pod: base weights, shards, caches."""
    prepare: PodSize = PodSize(cpu="2", memory="8Gi")
    """Pod of the preparation Job: conversations become tokens, in a process for each CPU; the base is brought."""
    head: PodSize = PodSize(cpu="1", memory="4Gi")
    """Ray head pod; trains nothing."""
    submitter: PodSize = PodSize(cpu="250m", memory="512Mi")
    """Pod that submits the Ray job and holds its log."""
    merge: PodSize = PodSize(cpu="2", memory="8Gi")
    """Pod of the merge Job."""
    engine: PodSize = PodSize(cpu="4", memory="16Gi")
    """Engine container of the evaluation Job; its GPUs are the document's."""
    evaluate: PodSize = PodSize(cpu="500m", memory="1Gi")
    """Evaluator and sidecar containers of the evaluation Job, each."""
    network_policy: bool = True
    """Let only one another, and the KubeRay operator to Ray's dashboard, reach the pods of a run."""
    egress: tuple[dict[str, Any], ...] = ({},)
    """Rules of a NetworkPolicy: where the pods of a run may go beyond one another; `{}` is everywhere."""
    backoff_limit: int = Field(default=2, ge=0)
    """Times that a failed RayJob or Job is tried again, each on new pods."""
    gpu_resource: str = Field(default="nvidia.com/gpu", min_length=3)
    """Name of the nodes' GPUs as a resource."""
    rdma: Rdma | None = None
    """RDMA between the pods of training workers; none when absent."""
    deadline_seconds: DeadlineSeconds = DeadlineSeconds()
    """Seconds after which a stage that has not ended fails."""
    templates: dict[PodPart, dict[str, Any]] = Field(default_factory=dict)
    """Parts of pod templates that go over ours: `metadata` and `spec`, lists of named things merged by name."""
    ttl_seconds_after_finished: int = Field(default=3600, ge=0)
    """Seconds that finished pods stay for a look at their logs."""


class Allowed(SpecModel):
    """What documents may name beside the release's own: the chart's `runs.allowed`. `*` is every one."""

    secrets: tuple[str, ...] = ()
    """Secrets for `spec.cluster.secret`, beside `pods.secret`."""
    service_accounts: tuple[str, ...] = ()
    """Service accounts for `spec.cluster.serviceAccount`, beside `pods.serviceAccount`."""
    stores: tuple[str, ...] = ()
    """URLs of stores, beside `store`: for `spec.store`, base, corpora and sets, there or below."""
    mount_roots: tuple[str, ...] = ("/dataset", "/mnt")
    """Folders that `spec.cluster.mounts` may be in, and corpora: `/dataset`, `/data`, `/mnt`, or below."""
    config_maps: tuple[str, ...] = ("*",)
    """ConfigMaps of the document's namespace that may be mounted."""
    claims: tuple[str, ...] = ("*",)
    """PersistentVolumeClaims of the document's namespace that may be mounted, read-only."""
    engine_options: tuple[str, ...] = ENGINE_OPTIONS
    """Names in `spec.deploy.engine.extra`."""

    @field_validator("mount_roots")
    @classmethod
    def _holds_data(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        if odd := [root for root in roots if not any(below(root, data) for data in DATA_ROOTS)]:
            raise ValueError(f"got {odd[0]!r}; expected {', '.join(DATA_ROOTS)}, or a folder below")
        return roots

    @field_validator("stores")
    @classmethod
    def _shared(cls, stores: tuple[str, ...]) -> tuple[str, ...]:
        known = ("s3://", "gs://", "az://", "file:///data/")
        if odd := [url for url in stores if url != "*" and (not url.startswith(known) or "/.." in url)]:
            raise ValueError(f"got {odd[0]!r}; expected s3://, gs://, az:// or file:///data/…")
        return stores


Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class Tenant(SpecModel):
    """What a namespace has of its own: the chart's `tenants`."""

    store: StoreURL | None = None
    """Object store of its documents without `spec.store`, for nobody else; a folder of the release's when absent."""
    credentials: str | None = None
    """Folder with the credentials by which the controller opens its stores, a file for each of a Secret's keys; the
    controller's own when absent."""
    secret: ObjectName | None = None
    """Secret in the namespace whose keys become environment variables of its pods; `pods.secret` when absent."""
    service_account: ObjectName | None = None
    """Service account of its pods; `pods.serviceAccount` when absent."""
    allowed: Allowed = Allowed()
    """What its documents may name: lists that are given take the place of the release's."""


class ControllerConfig(SpecModel):
    namespace: Namespace | None = None
    """Namespace of the release, whose runs and models stand in the store itself; those of any other in a folder of the
    namespace's own."""
    store: StoreURL
    """Object store of documents without `spec.store`."""
    images: Images
    """Images of the pods that runs are made of."""
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; every namespace when empty."""
    ray_version: str = Field(min_length=1)
    """Ray's version in the trainer and server images; KubeRay asks for it."""
    allowed: Allowed = Allowed()
    """What documents may name."""
    tenants: dict[Namespace, Tenant] = Field(default_factory=dict)
    """What namespaces have of their own."""
    pods: RunPods = RunPods()
    """The pods of runs."""
    poll_seconds: float = Field(default=15, gt=0)
    """Seconds between looks at a run whose objects have not changed: progress, manual promotion."""
    health_port: int = Field(default=8080, ge=1, le=65535)
    """Port of `/healthz`."""
    metrics_port: int = Field(default=9090, ge=1, le=65535)
    """Port of `/metrics`."""

    @model_validator(mode="after")
    def _stores_are_one_tenant_s(self) -> Self:
        stores = {name: Place.read(tenant.store) for name, tenant in self.tenants.items() if tenant.store}
        for (name, store), (other, theirs) in permutations(stores.items(), 2):
            if store.holds(theirs):
                raise ValueError(f"tenants.{name}.store holds tenants.{other}.store; expected stores of their own")
        if holding := [name for name, store in stores.items() if store.holds(Place.read(self.store))]:
            raise ValueError(f"tenants.{holding[0]}.store holds the release's; expected another")
        return self

    def of(self, namespace: str | None) -> Self:
        """Return the configuration for the documents of a namespace."""
        tenant = self.tenants.get(namespace or "")
        if tenant is None:
            return self
        own = {"secret": tenant.secret, "service_account": tenant.service_account}
        pods = self.pods.model_copy(update={name: value for name, value in own.items() if value})
        lists = {name: getattr(tenant.allowed, name) for name in tenant.allowed.model_fields_set}
        allowed = self.allowed.model_copy(update=lists)
        return self.model_copy(update={"store": tenant.store or self.store, "pods": pods, "allowed": allowed})
