"""What the merge writes is what vLLM serves: its greedy tokens are those of base and adapter in PEFT's hands."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_merger_tied import head_alone, head_of_its_own, with_weights
from tiny_adapters import make_adapter, make_base, peft_model

from callwright.store import Manifest

PROMPT, TOKENS = [3, 14, 15, 92, 65], 12
SERVE = """
import json, sys
from vllm import LLM, SamplingParams
found = []
for folder in sys.argv[3:]:
    model = LLM(folder, skip_tokenizer_init=True, dtype="float32", max_model_len=64, enforce_eager=True)
    sampling = SamplingParams(temperature=0, max_tokens=int(sys.argv[2]), ignore_eos=True, detokenize=False)
    found.append(model.generate([{"prompt_token_ids": json.loads(sys.argv[1])}], sampling)[0].outputs[0].token_ids)
    del model  # with it goes what the next one sets up anew
print("\\n" + json.dumps([list(ids) for ids in found]))
"""


@pytest.mark.e2e
def test_vllm_answers_as_base_and_adapter_do(tmp_path: Path, merged: Callable[..., tuple[Manifest, Path]]) -> None:
    folders, expected = [], []
    for name, tied, grown, targets, change in (
        ("plain", False, None, ["q_proj", "up_proj"], None),
        ("untied and grown", True, 100, ["embed_tokens", "q_proj"], None),
        ("own head", True, None, ["q_proj"], head_of_its_own),
        ("head alone", True, None, ["q_proj"], head_alone),
    ):
        base = make_base(tmp_path / name / "base", tied=tied, hidden_size=128)
        if change:
            with_weights(base, change)
        adapter = make_adapter(tmp_path / name / "adapter", base, grown=grown, target_modules=targets)
        folders.append(merged(base, adapter, version=name.replace(" ", "-"))[1])
        with torch.inference_mode():
            model = peft_model(base, adapter, grown=grown).float()
            ids = model.generate(torch.tensor([PROMPT]), max_new_tokens=TOKENS, do_sample=False, eos_token_id=None)
        expected.append(ids[0, len(PROMPT) :].tolist())
    settings = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    command = [sys.executable, "-c", SERVE, json.dumps(PROMPT), str(TOKENS), *map(str, folders)]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == expected
