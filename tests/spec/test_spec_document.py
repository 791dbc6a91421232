"""A wrong document gets one line per problem: YAML path, what was found, what was expected."""

from pathlib import Path

import pytest

from callwright import spec
from callwright.errors import InvalidInput, NotFound

GOOD = """\
apiVersion: callwright.io/v1alpha1
kind: FineTune
metadata: {name: demo}
spec:
  base: {model: ./base}
  data: {sources: [{path: rows.jsonl}]}
"""


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(InvalidInput) as caught:
        spec.parse(text, where="file.yaml")
    assert str(caught.value).startswith("file.yaml")
    return caught.value.problems


def test_the_defaults_are_the_recipe_s() -> None:
    found = spec.parse(GOOD).spec
    assert (found.lora.rank, found.lora.alpha, found.lora.dropout) == (8, 32, 0.05)
    train = found.train
    assert (train.learning_rate, train.epochs, train.batch_size, train.sequences_per_step) == (5e-5, 2, 2, 32)
    assert (train.gradient_checkpointing, train.max_grad_norm, train.warmup_ratio) == (True, 0.5, 0.03)
    assert (train.eval_steps, train.save_steps, train.save_total_limit, train.log_steps) == (100, 100, 2, 10)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("base: {model: ./base}", "base: {}"), "spec.base.model: missing"),
        (("  data:", "  dialct: x\n  data:"), "spec.dialct: unknown key; expected 'dialect'?"),
        (("path: rows.jsonl", "path: rows.jsonl, count: 0"), "spec.data.sources[0].count: got 0"),
        (("  data:", "  train: {learningRate: fast}\n  data:"), "spec.train.learningRate: got 'fast'"),
        (("  data:", "  train: {dtype: fp8}\n  data:"), "spec.train.dtype: got 'fp8'"),
        (("  data:", "  lora: {targets: 5}\n  data:"), "spec.lora.targets"),
        (("name: demo", "name: Demo_1"), "metadata.name: got 'Demo_1'"),
        (("FineTune", "FineTuna"), "kind: got 'FineTuna'"),
        (("  data:", "  resources: {workers: 3}\n  data:"), "train.sequencesPerStep 32"),
    ],
)
def test_a_problem_names_its_path_and_what_was_found(change: tuple[str, str], problem: str) -> None:
    assert any(problem in line for line in problems(GOOD.replace(*change)))


def test_every_problem_is_told_at_once() -> None:
    text = GOOD.replace("{model: ./base}", "{modl: x}").replace("path: rows.jsonl", "pth: x")
    assert len(problems(text)) == 4


@pytest.mark.parametrize("text", ["", "- a", "a: [", "x: {"])
def test_what_is_no_document_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"file\.yaml"):
        spec.parse(text, where="file.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.yaml"):
        spec.load(tmp_path / "gone.yaml")


def test_a_run_is_named_by_what_shapes_its_result() -> None:
    one = spec.parse(GOOD)
    assert spec.run_name(one) == spec.run_name(spec.parse(GOOD))
    assert spec.run_name(one) != spec.run_name(spec.parse(GOOD.replace("./base", "./other")))
    assert spec.run_name(one) != spec.run_name(one, "digest")
    more = GOOD + "  resources: {memoryPerWorker: 32Gi}\n  suspend: true\n"
    assert spec.run_name(one) == spec.run_name(spec.parse(more))
    assert spec.run_name(one).startswith("demo-")
