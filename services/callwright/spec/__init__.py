"""The FineTune document: the one YAML file that describes a run, for `callwright run` and for a cluster alike."""

from callwright.spec.document import load, parse, validate
from callwright.spec.identity import earlier_run_name, measurement, run_name, version_name
from callwright.spec.model import API_VERSION, FineTune, FineTuneSpec

__all__ = [
    "API_VERSION",
    "FineTune",
    "FineTuneSpec",
    "earlier_run_name",
    "load",
    "measurement",
    "parse",
    "run_name",
    "validate",
    "version_name",
]
