# syntax=docker/dockerfile:1
# Ray head, workers and submitter of a training.
# Built from the repository's root: docker build -f docker/trainer.Dockerfile .
# For machines without an accelerator: --build-arg LOCK=cpu
ARG PYTHON_TAG=3.11.15-slim-bookworm

FROM python:${PYTHON_TAG} AS packages
# Where an index lacks the CPU build of torch, PyTorch's own: --build-arg PIP_EXTRA_INDEX_URL=…
ARG PIP_EXTRA_INDEX_URL
ARG LOCK=trainer
WORKDIR /build
COPY locks/${LOCK}.txt ./
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps --ignore-installed --prefix=/install -r ${LOCK}.txt

FROM packages AS build
ARG SETUPTOOLS=84.2.1
COPY pyproject.toml README.md LICENSE ./
COPY services ./services
RUN --mount=type=cache,target=/root/.cache/pip pip install setuptools==${SETUPTOOLS} && \
    pip install --no-deps --no-build-isolation --prefix=/own .

FROM python:${PYTHON_TAG}
LABEL org.opencontainers.image.title="callwright-trainer" \
      org.opencontainers.image.description="Ray head, workers and submitter of a training" \
      org.opencontainers.image.licenses="Apache-2.0"
# wget: KubeRay's probes. gcc and libc6-dev: Triton compiles its launchers when a kernel first runs.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev libnuma1 wget && \
    rm -rf /var/lib/apt/lists/*
# The base's installers go, so that a lock's setuptools does not mix with theirs; whoever runs it may write to /scratch,
# over which a volume lies on the cluster.
RUN pip uninstall --yes --root-user-action=ignore setuptools wheel pip && mkdir -m 1777 /scratch
# The locked packages first: they change less often than the code.
# Into /usr/local, not a virtual environment: KubeRay starts Ray in a login shell, which resets PATH.
COPY --from=packages /install /usr/local
COPY --from=build /own /usr/local
ENV HOME=/scratch PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 RAY_USAGE_STATS_ENABLED=0
WORKDIR /scratch
USER 65532:65532
# No entry point: KubeRay brings the command of head, workers and submitter.
CMD ["python", "-m", "callwright.trainer", "--help"]
