"""The FineTune document: one YAML file that says everything about a run, on a laptop and on a cluster."""

from callwright.spec.document import load, parse
from callwright.spec.model import API_VERSION, FineTune, FineTuneSpec
from callwright.spec.run import run_name

__all__ = ["API_VERSION", "FineTune", "FineTuneSpec", "load", "parse", "run_name"]
