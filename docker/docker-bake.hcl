# Every image at once: docker buildx bake -f docker/docker-bake.hcl [cpu]
variable "REGISTRY" {
  default = ""
}

variable "TAG" {
  default = "0.1.0"
}

variable "REVISION" {
  default = ""
}

# Where the package index lacks the CPU build of torch: PyTorch's own.
variable "PIP_EXTRA_INDEX_URL" {
  default = ""
}

# Tag of the base image `python` with its digest, 3.11.15-slim-bookworm@sha256:…, for builds that must not move under it:
# `docker buildx imagetools inspect python:TAG` prints it. The Dockerfile's own tag when absent.
variable "PYTHON_TAG" {
  default = null
}

group "default" {
  targets = ["slim", "ray"]
}

# For machines without an accelerator, a kind cluster among them.
group "cpu" {
  targets = ["slim", "ray-cpu"]
}

target "base" {
  context    = "."
  dockerfile = "docker/Dockerfile"
  args       = { PIP_EXTRA_INDEX_URL = PIP_EXTRA_INDEX_URL, PYTHON_TAG = PYTHON_TAG }
  labels = {
    "org.opencontainers.image.version"  = TAG
    "org.opencontainers.image.revision" = REVISION
  }
}

target "slim" {
  name     = room
  matrix   = { room = ["merger", "evaluator", "sidecar", "controller"] }
  inherits = ["base"]
  target   = room
  tags     = [image(room)]
}

target "ray" {
  name     = room
  matrix   = { room = ["trainer", "server"] }
  inherits = ["base"]
  target   = room
  tags     = [image(room)]
}

target "ray-cpu" {
  name     = "${room}-cpu"
  matrix   = { room = ["trainer", "server"] }
  inherits = ["base"]
  target   = room
  args     = { LOCK = "${room}-cpu" }
  tags     = [image("${room}-cpu")]
}

function "image" {
  params = [room]
  result = "${REGISTRY == "" ? "" : "${REGISTRY}/"}callwright-${room}:${TAG}"
}
