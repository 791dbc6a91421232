"""The FineTune document of the demo, as a person would write it.

Owns the demo's settings. Small models learn with higher learning rates than the 5e-5 that suits 7B.
"""

from pathlib import Path

from callwright.demo.corpus import Corpus

NAME = "demo"
"""Name of the run and of the served model."""

_DOCUMENT = """\
apiVersion: callwright.io/v1alpha1
kind: FineTune
metadata:
  name: {name}
spec:
  base:
    model: {base}
  dialect: hermes
  data:
    sources:
      - path: {agent}        # requests with tools: one call, two, none, a question back
        format: openai
      - path: {replay}       # general conversations, so that the model keeps what it knew
        format: openai
    testFraction: 0.01
  lora:
    rank: 16
    alpha: 32
    dropout: 0
  train:
    learningRate: 6.0e-4
    {length}
    seed: {seed}
    batchSize: 2
    sequencesPerStep: 4
    maxGradNorm: 1.0
    weightDecay: 0
    gradientCheckpointing: false
    dtype: bfloat16
    evalSteps: 200
    saveSteps: 200
  resources:
    workers: 2
  evaluate:
    sets:
{sets}
    maxTokens: 128
    gate:
      minAccuracy: 0.4
      maxMalformed: 0.05
  deploy:
    engine:
      dtype: bfloat16
      maxModelLen: 2048
"""
_MEANINGS = {
    "known": "trained tools, values never seen",
    "unseen": "tools of fields never seen",
    "quiet": "no call is due",
    "two": "two calls at once",
    "general": "no tools: the loss says what was forgotten",
    "bfcl-simple": "the Berkeley leaderboard's own requests, by its rule",
    "bfcl-irrelevance": "and those that no tool of theirs serves",
}


def write_document(path: Path, corpus: Corpus, *, base: Path | str, steps: int | None = None, seed: int = 11) -> Path:
    """Write the demo's document to `path` and return it; it trains for `steps`, or once over the corpus."""
    text = _DOCUMENT.format(
        name=NAME,
        base=base,
        agent=corpus.agent,
        replay=corpus.replay,
        seed=seed,
        length=f"steps: {steps}" if steps else "epochs: 1",
        sets="\n".join(_set_line(name, file) for name, file in corpus.sets.items()),
    )
    path.write_text(text, encoding="utf-8")
    return path


def _set_line(name: str, file: Path) -> str:
    return f"      - {{name: {name}, path: {file}}}  # {_MEANINGS[name]}"
