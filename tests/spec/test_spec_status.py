"""A FineTune's status, as another release may have written it."""

from typing import Any

from callwright.spec.status import Status


def test_what_a_newer_release_tells_besides_is_left_out_and_the_rest_is_read() -> None:
    """So that the older one, after `helm rollback`, takes no document for a new one."""
    condition: dict[str, Any] = {"status": "True", "reason": "Succeeded", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    canary = {"version": "v", "weight": 5, "newer": 1, "candidate": {"requests": 3, "newer": 1}}
    known = Status.model_validate(
        {"phase": "Promoted", "run": "m-0", "newer": {"x": 1}, "canary": canary}
        | {"conditions": [condition | {"type": "Newer"}, condition | {"type": "Promoted", "newer": 1}]}
    )
    assert (known.phase, known.run) == ("Promoted", "m-0")
    assert known.canary is not None
    assert known.canary.candidate.requests == 3
    assert [each.type for each in known.conditions] == ["Promoted"]
    assert known.holds("Promoted")
