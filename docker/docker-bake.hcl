# Every image at once: docker buildx bake -f docker/docker-bake.hcl
variable "REGISTRY" {
  default = ""
}

variable "TAG" {
  default = "0.1.0"
}

group "default" {
  targets = ["slim", "ray", "server-cpu"]
}

target "slim" {
  name       = room
  matrix     = { room = ["merger", "evaluator", "sidecar", "controller"] }
  context    = "."
  dockerfile = "docker/${room}.Dockerfile"
  tags       = [image(room)]
}

target "ray" {
  name       = room
  matrix     = { room = ["trainer", "server"] }
  context    = "."
  dockerfile = "docker/${room}.Dockerfile"
  tags       = [image(room)]
}

target "server-cpu" {
  context    = "."
  dockerfile = "docker/server.Dockerfile"
  args       = { LOCK = "cpu" }
  tags       = ["${image("server")}-cpu"]
}

function "image" {
  params = [room]
  result = "${REGISTRY == "" ? "" : "${REGISTRY}/"}callsmith-${room}:${TAG}"
}
