"""The FineTune document of the demo, as a person would write it.

Owns the demo's settings. Small models learn with far higher learning rates than the 5e-5 that suits 7B.
"""

from pathlib import Path

from callwright.demo.corpus import Corpus

BASE_DIR = Path(__file__).parent / "base"
"""The shipped base model."""
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
  dialect: ms_agent
  data:
    sources:
      - path: {agent}        # conversations with Thought, Action, Action Input, Observation, Final Answer
        format: ms_agent
      - path: {replay}       # general conversations, so that the model keeps what it knew
        format: ms_agent
    testFraction: 0.01
  lora:
    rank: 32
    alpha: 64
    dropout: 0
  train:
    learningRate: 3.0e-3
    steps: {steps}
    batchSize: 2
    sequencesPerStep: 4
    maxGradNorm: 1.0
    weightDecay: 0
    gradientCheckpointing: false
    evalSteps: 100
    saveSteps: 300
  resources:
    workers: 2
  evaluate:
    sets:
      - {{name: seen, path: {seen}}}          # trained tools, values never seen
      - {{name: wordings, path: {wordings}}}      # trained tools, asked in words never seen
      - {{name: unseen, path: {unseen}}}        # tools never seen
      - {{name: general, path: {general}}}       # no tools: the loss says what was forgotten
    maxTokens: 96
    gate:
      minAccuracy: 0.65
  deploy:
    engine:
      dtype: float32
      maxModelLen: 2048
"""


def write_document(path: Path, corpus: Corpus, *, base: Path | str = BASE_DIR, steps: int = 900) -> Path:
    """Write the demo's document to `path` and return it."""
    sets = {name: corpus.held_out(name) for name in ("seen", "wordings", "unseen", "general")}
    text = _DOCUMENT.format(name=NAME, base=base, agent=corpus.agent, replay=corpus.replay, steps=steps, **sets)
    path.write_text(text, encoding="utf-8")
    return path
