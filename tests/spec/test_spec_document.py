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


def mounts(*paths: str) -> str:
    listed = ", ".join(f"{{path: {path!r}, claim: c}}" for path in paths)
    return f"{GOOD}  cluster: {{mounts: [{listed}]}}\n"


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (("/tmp",), "no mount can be in /tmp, which the pod has already"),
        (("/tmp/a",), "no mount can be in /tmp"),
        (("/scratch",), "no mount can be in /scratch"),
        (("/data/corpora",), "no mount can be in /data"),
        (("/etc/callwright",), "no mount can be in /etc"),
        (("/dev/shm",), "no mount can be in /dev"),
        (("/proc",), "no mount can be in /proc"),
        (("/a", "/b", "/a"), "no mount can be in another: /a and /a"),
        (("/a", "/a/b"), "no mount can be in another: /a and /a/b"),
        (("/a/b/c", "/a"), "no mount can be in another: /a and /a/b/c"),
        (("dataset",), "mounts[0].path: got 'dataset'"),
        (("/",), "mounts[0].path: got '/'"),
        (("",), "mounts[0].path: got ''"),
        (("/a/",), "mounts[0].path: got '/a/'"),
        (("/a//b",), "mounts[0].path: got '/a//b'"),
        (("/a/../b",), "mounts[0].path: got '/a/../b'"),
        (("/..",), "mounts[0].path: got '/..'"),
        (("/a/.",), "mounts[0].path: got '/a/.'"),
        (("/a:b",), "mounts[0].path: got '/a:b'"),
    ],
)
def test_mounts_that_a_pod_cannot_have_are_refused(paths: tuple[str, ...], problem: str) -> None:
    assert any(problem in line for line in problems(mounts(*paths)))


def test_mounts_apart_from_one_another_are_taken() -> None:
    paths = ["/a", "/ab", "/b/c", "/b/d", "/..e", "/.f/...g", "/tmpfs"]
    assert [mount.path for mount in spec.parse(mounts(*paths)).spec.cluster.mounts] == paths


@pytest.mark.parametrize(
    ("toleration", "problem"),
    [
        ("{effect: NoSchedule}", "a toleration without a key needs the operator Exists"),
        ("{}", "a toleration without a key needs the operator Exists"),
        ("{value: a}", "a toleration without a key needs the operator Exists"),
        ("{key: a, operator: Exists, value: b}", "a toleration with the operator Exists takes no value"),
        ("{key: '', operator: Equal}", "tolerations[0].key: got ''"),
        ("{key: 'a b'}", "tolerations[0].key: got 'a b'"),
        ("{key: a, value: 'b c'}", "tolerations[0].value: got 'b c'"),
        ("{key: a, value: true}", "tolerations[0].value: got True"),
        ("{key: 1}", "tolerations[0].key: got 1"),
        ("{key: a, operator: exists}", "tolerations[0].operator: got 'exists'"),
        ("{key: a, effect: Noexecute}", "tolerations[0].effect: got 'Noexecute'"),
        ("{key: a, tolerationSeconds: 3}", "tolerations[0].tolerationSeconds: unknown key"),
    ],
)
def test_tolerations_that_a_pod_cannot_have_are_refused(toleration: str, problem: str) -> None:
    assert any(problem in line for line in problems(f"{GOOD}  resources: {{tolerations: [{toleration}]}}\n"))


@pytest.mark.parametrize("toleration", ["{operator: Exists}", "{key: a.b/c}", "{key: a, value: ''}"])
def test_tolerations_that_a_pod_can_have_are_taken(toleration: str) -> None:
    assert spec.parse(f"{GOOD}  resources: {{tolerations: [{toleration}]}}\n").spec.resources.tolerations


@pytest.mark.parametrize(
    "amount",
    ["64000000K", "8gi", "8ki", "8GI", "8GB", "-8Gi", "+8Gi", "8 Gi", "Gi", "8m", "0", "0Gi", "0.0Gi", "1e", "", "8i"],
)
def test_a_quantity_that_kubernetes_does_not_know_is_refused(amount: str) -> None:
    found = problems(f"{GOOD}  resources: {{memoryPerWorker: {amount!r}}}\n")
    assert any(f"spec.resources.memoryPerWorker: got {amount!r}" in line for line in found)


@pytest.mark.parametrize(
    "amount",
    ["64000000Ki", "64000000k", "1.5Gi", "0.5Gi", "10Gi", "8G", "1e10", "1E10", "2e+9", "8589934592", "1Ei", "1E"],
)
def test_a_quantity_is_taken_in_every_form(amount: str) -> None:
    assert (
        spec.parse(f"{GOOD}  resources: {{memoryPerWorker: {amount!r}}}\n").spec.resources.memory_per_worker == amount
    )


@pytest.mark.parametrize(
    ("selector", "problem"),
    [
        ("{gpu: true}", "nodeSelector.gpu: got True"),
        ("{gpu: no}", "nodeSelector.gpu: got False"),
        ("{gpu: 1}", "nodeSelector.gpu: got 1"),
        ("{gpu: 1.5}", "nodeSelector.gpu: got 1.5"),
        ("{gpu: 2026-01-01}", "nodeSelector.gpu"),
        ("{gpu: }", "nodeSelector.gpu: got nothing"),
        ("{gpu: 'a b'}", "nodeSelector.gpu: got 'a b'"),
        ("{'a b': c}", "nodeSelector has 'a b', which no label can be named"),
        ("{yes: c}", "nodeSelector"),
        ("{a: b, a: c}", "'a' stands twice"),
    ],
)
def test_labels_of_nodes_that_yaml_reads_otherwise_are_refused(selector: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        spec.parse(f"{GOOD}  resources: {{nodeSelector: {selector}}}\n")
    assert problem in "\n".join((str(caught.value), *caught.value.problems))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            GOOD + "  train: {epochs: 1}\n  train: {epochs: 2}\n",
            "at line 8, column 3: 'train' stands twice, first at line 7",
        ),
        (GOOD + "  train: {epochs: 1, epochs: 2}\n", "line 7, column 22: 'epochs' stands twice, first at line 7"),
        (GOOD + "spec: {}\n", "'spec' stands twice, first at line 4"),
        (GOOD + "'kind': FineTune\n", "'kind' stands twice, first at line 2"),
        (GOOD + "  deploy: {engine: {extra: {a: 1, a: 2}}}\n", "'a' stands twice"),
        (GOOD + "  merge: &m {dtype: base}\n  x: {<<: *m, <<: *m}\n", "'<<' stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused_by_line(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=f"file.yaml: .*{words}"):
        spec.parse(text, where="file.yaml")


def test_a_key_that_is_merged_in_may_have_another_value() -> None:
    text = GOOD.replace("base: {model: ./base}", "base: &b {model: ./a}") + "  merge: {dtype: base}\n"
    merged = text.replace(
        "  merge:", "  deploy: {engine: {extra: {one: &x {<<: *b, model: c}, two: {<<: *x}}}}\n  merge:"
    )
    assert spec.parse(merged).spec.deploy.engine.extra == {"one": {"model": "c"}, "two": {"model": "c"}}


@pytest.mark.parametrize(
    "text",
    ["a: 2026-13-45", "a: " + "1" * 5000, "[" * 5000, "{[a]: b}", "a: 1\n---\nb: 2", "a: \x07", "!!python/name:os {}"],
    ids=lambda text: text[:12],
)
def test_what_yaml_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"file\.yaml: not YAML"):
        spec.parse(text, where="file.yaml")


@pytest.mark.parametrize("text", ["", "- a", "a: [", "x: {"])
def test_what_is_no_document_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"file\.yaml"):
        spec.parse(text, where="file.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.yaml"):
        spec.load(tmp_path / "gone.yaml")


@pytest.mark.parametrize("part", ["data: {sources: [{path: a}], seed: SEED}", "train: {seed: SEED}"])
def test_a_seed_that_no_generator_takes_is_refused(part: str) -> None:
    kept = GOOD if part.startswith("train") else GOOD.partition("  data:")[0]
    assert spec.parse(f"{kept}  {part}\n".replace("SEED", str(2**32 - 1)))
    with pytest.raises(InvalidInput) as caught:
        spec.parse(f"{kept}  {part}\n".replace("SEED", "5000000000"))
    assert "seed: got 5000000000" in "\n".join(caught.value.problems)


@pytest.mark.parametrize("value", ["2024-07-26", ".nan", "!!binary aGVsbG8=", "[{a: 2024-07-26}]"])
def test_arguments_of_a_chat_template_are_json(value: str) -> None:
    text = (
        "{apiVersion: callwright.io/v1alpha1, kind: FineTune, metadata: {name: a}, spec: {base: {model: b, "
        f"templateArguments: {{date_string: {value}}}}}, data: {{sources: [{{path: c}}]}}}}}}"
    )
    with pytest.raises(InvalidInput, match=r"templateArguments\.date_string is no JSON value; put a date in quotes"):
        spec.parse(text)
    assert spec.parse(text.replace(value, '"1 May"')).spec.base.template_arguments == {"date_string": "1 May"}
