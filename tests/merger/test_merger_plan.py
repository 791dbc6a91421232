"""The plan: every tensor with what happens to it, the same for the same inputs, and nothing written."""

from pathlib import Path

import pytest
from tiny_adapters import make_adapter, make_base

from callwright.merger.merging import read_inputs


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
