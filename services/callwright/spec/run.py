"""The name of a run: the document's name and a digest of everything that shapes the result."""

import hashlib
import json

from callwright.spec.model import FineTune

# KubeRay refuses RayJob names over 47 characters: name + "-" + digest + "-train-" + attempt digits.
_NAME_LENGTH = 29


def run_name(finetune: FineTune, data_digest: str = "") -> str:
    """Name of the run that `finetune` asks for; the same document gives the same name.

    Resources, pods, serving and suspension are left out: more memory after an OOM carries the same run on.
    `data_digest` makes a new run of changed corpora, where the caller can see them.
    """
    shaping = finetune.spec.model_dump(
        mode="json", by_alias=True, exclude={"suspend", "resources", "cluster", "deploy"}
    )
    parts = [finetune.model_name, shaping, *([data_digest] if data_digest else [])]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    name = finetune.metadata.name
    prefix = name if name[0].isalpha() else f"r{name}"  # a RayJob's name is a DNS-1035 label
    return f"{prefix[:_NAME_LENGTH].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
