"""The longest stall of the sidecar's event loop by each of a corpus of hostile requests and answers.

`python bench/stalls.py` prints JSON and writes bench/results/stalls.json. A stall is CPU time in which nobody else has
a turn, in milliseconds: one step of the loop, or one line of Python of a thread beside it, which holds the interpreter
meanwhile. The corpus and the measure are those of tests/faults/stalls.py.
"""

import json
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "faults"))

from stalls import measure

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3


def main() -> None:
    """Measure all of it, the best of the rounds for each."""
    rounds = [measure("cpu") for _ in range(ROUNDS)]
    best = {name: round(1000 * min(each[name] for each in rounds), 1) for name in rounds[0]}
    results = {
        "python": platform.python_version(),
        "load": os.getloadavg(),
        "rounds": ROUNDS,
        "worst_ms": max(best.values()),
        "stalls_ms": best,
    }
    text = json.dumps(results, indent=2)
    (ROOT / "bench" / "results" / "stalls.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
