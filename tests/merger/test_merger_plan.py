"""The plan: every tensor with what happens to it, the same for the same inputs, and nothing written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_adapters import make_adapter, make_base

from callwright.merger import plan as merge_plan
from callwright.merger.merging import read_inputs
from callwright.store import Manifest, Store, fetch


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def test_every_tensor_has_a_line(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(
        tmp_path / "adapter", base, target_modules=["q_proj"], rank_pattern={"0.self_attn.q_proj": 2}
    )
    lines = list(read_inputs(base, adapter).plan.lines())
    changed = [line for line in lines if not line.endswith(": copy")]
    assert len(lines) == 27
    assert changed == [
        "model.safetensors: model.layers.0.self_attn.q_proj.weight F32 [32, 32]: lora r=2 scale=4",
        "model.safetensors: model.layers.1.self_attn.q_proj.weight F32 [32, 32]: lora r=4 scale=2",
    ]
    converted = list(read_inputs(base, adapter, dtype="bfloat16").plan.lines())
    assert "model.safetensors: model.norm.weight BF16 [32]: copy, F32 to BF16" in converted


def test_shards_hold_every_tensor_once_and_no_more_than_they_may(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", base)
    plan = read_inputs(base, adapter, shard_bytes=10_000).plan
    names = [tensor.name for tensor in plan.tensors]
    assert sorted(names) == sorted(set(names))
    assert len(plan.shards) > 1
    assert all(shard.nbytes <= 10_000 or len(shard.tensors) == 1 for shard in plan.shards)
    assert plan.shards[0].file == f"model-00001-of-{len(plan.shards):05}.safetensors"


def test_the_digest_follows_everything_that_decides_the_bytes(base: Path, tmp_path: Path) -> None:
    one, other = make_adapter(tmp_path / "one", base), make_adapter(tmp_path / "other", base, lora_alpha=9)
    digests = {
        read_inputs(base, one).digest,
        read_inputs(base, other).digest,
        read_inputs(base, one, dtype="bfloat16").digest,
        read_inputs(base, one, shard_bytes=10_000).digest,
    }
    assert len(digests) == 4
    assert read_inputs(base, one).digest in digests


def test_what_comes_of_the_base_alone_is_in_shards_that_versions_share(
    tmp_path: Path, store: Store, merged: Callable[..., tuple[Manifest, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings are most of it; a node keeps them once. What an adapter holds whole is its own."""
    monkeypatch.setattr(merge_plan, "_SHARED_BYTES", 10_000)
    base = make_base(tmp_path / "base", vocab_size=2000)
    adapters = [
        make_adapter(tmp_path / "one", base),
        make_adapter(tmp_path / "other", base, lora_alpha=9),
        make_adapter(tmp_path / "head", base, modules_to_save=["lm_head"]),
    ]
    manifests = [merged(base, adapter, version=f"v{number}")[0] for number, adapter in enumerate(adapters)]
    first = "model-00001-of-00002.safetensors"
    assert manifests[0].files[first] == manifests[1].files[first] != manifests[2].files[first]
    for number in range(3):
        fetch(store, manifests[0].name, f"v{number}", tmp_path / "cache")
    files = list((tmp_path / "cache").rglob("*.safetensors"))
    assert len(files) == 6
    assert len({path.stat().st_ino for path in files}) == 5
    shared, whole = manifests[0].files[first].size, manifests[0].size
    assert shared / whole > 0.8


def test_a_version_that_an_older_release_laid_out_otherwise_is_not_merged_again(
    tmp_path: Path, merged: Callable[..., tuple[Manifest, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base(tmp_path / "base", vocab_size=2000)
    adapter = make_adapter(tmp_path / "adapter", base)
    before, _ = merged(base, adapter)
    monkeypatch.setattr(merge_plan, "_SHARED_BYTES", 10_000)
    assert merged(base, adapter)[0] == before
