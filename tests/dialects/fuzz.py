"""Feeds random and mutated texts to every dialect until the time is up: `python tests/dialects/fuzz.py --seconds 60`.

Stops with the seed and the text at the first broken law. `make fuzz` runs it.
"""

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from every_case import CASES
from generated import TOOLS, cut, make_text, mutate
from laws import check_split

from callwright import dialects

SECONDS_PER_CHARACTER = 0.001
"""Of CPU time: a parser that takes more reads its text again and again."""


def fuzz_once(seed: int) -> int:
    """One text through every dialect, cut up, plain and eager; returns the number of comparisons."""
    source = random.Random(seed)
    text = make_text(source) if source.random() < 0.5 else mutate(source, source.choice(CASES).text)
    tools = source.choice((TOOLS, TOOLS, TOOLS, [], None))
    for name in dialects.NAMES:
        dialect = dialects.load(name)
        for eager in (False, True):
            started = time.process_time()
            check_split(dialect, cut(source, text), tools, eager=eager, cut=source.random() < 0.3)
            assert time.process_time() - started < 0.5 + SECONDS_PER_CHARACTER * len(text), (name, text)
        segments = dialect.segment(text)
        assert "".join(segment.text for segment in segments) == text, (name, text)
    return 2 * len(dialects.NAMES)


def main() -> None:
    """Runs until the time is up and says how much was compared."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=None, help="repeat one seed")
    given = options.parse_args()
    if given.seed is not None:
        fuzz_once(given.seed)
        return
    seed = first = random.SystemRandom().randrange(2**40)
    compared = 0
    ends = time.monotonic() + given.seconds
    while time.monotonic() < ends:
        try:
            compared += fuzz_once(seed)
        except BaseException:
            print(f"fuzz: broken at --seed {seed}", file=sys.stderr)
            raise
        seed += 1
    print(f"fuzz: {compared} comparisons of streamed and whole over {len(dialects.NAMES)} dialects, seeds from {first}")


if __name__ == "__main__":
    main()
