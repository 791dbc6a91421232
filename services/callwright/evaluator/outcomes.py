"""What became of one request: verdict, loss or error, as a line of JSON and back.

Knows the shape of a result, not where it is kept nor how it is summed up.
"""

import json
from dataclasses import dataclass
from typing import Any

from callwright.evaluator.endpoint import Failure
from callwright.evaluator.rows import Call, Row
from callwright.evaluator.scoring import Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a request; exactly one of verdict, loss and error says what came of it."""

    key: str
    verdict: Verdict | None = None
    loss: tuple[float, int] | None = None
    """Nats and tokens."""
    error: tuple[str, str] | None = None
    """Reason and text."""
    content: str | None = None
    calls: tuple[Call, ...] = ()
    judged: bool | None = None
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def to_json(self) -> str:
        """One line, without its end."""
        # By hand: `dataclasses.asdict` copies deeply, which costs more than all the scoring.
        document = {name: getattr(self, name) for name in self.__slots__} | {
            "verdict": self.verdict and {name: getattr(self.verdict, name) for name in self.verdict.__slots__},
            "calls": [{"name": call.name, "arguments": call.arguments} for call in self.calls],
        }
        return json.dumps(document, ensure_ascii=False)


def failed(row: Row, failure: Failure) -> Outcome:
    """The outcome of a request that got no answer."""
    return Outcome(row.key, error=(failure.reason, failure.text))


def from_json(document: dict[str, Any]) -> Outcome:
    """Read back what `to_json` wrote. Raises `TypeError` or `KeyError` for anything else."""
    verdict, loss, error = document["verdict"], document["loss"], document["error"]
    return Outcome(
        **document
        | {
            "verdict": Verdict(**verdict) if verdict else None,
            "loss": (loss[0], loss[1]) if loss else None,
            "error": (error[0], error[1]) if error else None,
            "calls": tuple(Call(**call) for call in document["calls"]),
        }
    )
