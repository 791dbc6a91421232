# syntax=docker/dockerfile:1
# The tool-call sidecar in front of an engine.
# Built from the repository's root: docker build -f docker/sidecar.Dockerfile .
ARG PYTHON_TAG=3.11.15-slim-bookworm

FROM python:${PYTHON_TAG} AS packages
WORKDIR /build
COPY locks/sidecar.txt ./
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps --ignore-installed --prefix=/install -r sidecar.txt

FROM packages AS build
ARG SETUPTOOLS=84.2.1
COPY pyproject.toml README.md LICENSE ./
COPY services ./services
RUN --mount=type=cache,target=/root/.cache/pip pip install setuptools==${SETUPTOOLS} && \
    pip install --no-deps --no-build-isolation --prefix=/own .

FROM python:${PYTHON_TAG}
LABEL org.opencontainers.image.title="callwright-sidecar" \
      org.opencontainers.image.description="The tool-call sidecar in front of an engine" \
      org.opencontainers.image.licenses="Apache-2.0"
# The base's installers go, so that a lock's setuptools does not mix with theirs; whoever runs it may write to /scratch,
# over which a volume lies on the cluster.
RUN pip uninstall --yes --root-user-action=ignore setuptools wheel pip && mkdir -m 1777 /scratch
# The locked packages first: they change less often than the code.
COPY --from=packages /install /usr/local
COPY --from=build /own /usr/local
ENV HOME=/scratch PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /scratch
USER 65532:65532
ENTRYPOINT ["python", "-m", "callwright.sidecar"]
