"""What the gate lets through, what it keeps back, and what it says."""

from typing import Any

import pytest

from callwright.errors import Unavailable
from callwright.evaluator.gate import decide
from callwright.evaluator.measures import measure
from callwright.evaluator.report import Report
from callwright.spec.model import Gate


def report(right: int, wrong: int, *, errors: int = 0, malformed: float = 0.0, loss: float | None = None) -> Report:
    measures = measure([]).model_copy(
        update={
            "requests": right + wrong,
            "errors": errors,
            "error_reasons": {"HTTP 500": errors} if errors else {},
            "calls_due": right + wrong,
            "accuracy": right / (right + wrong) if right + wrong else None,
            "malformed": malformed,
            "general_loss": loss,
        }
    )
    calls = {f"s/{n}": n < right for n in range(right + wrong)}
    return Report(model="m", base_url="u", dialect=None, created_at="", seconds=0, total=measures, sets={}, calls=calls)


@pytest.mark.parametrize(
    ("gate", "candidate", "others", "failed"),
    [
        ({}, report(0, 100, malformed=1.0), {}, []),
        ({}, report(0, 0), {}, []),
        ({"min_accuracy": 0.9}, report(90, 10), {}, []),
        ({"min_accuracy": 0.9}, report(89, 11), {}, ["minAccuracy"]),
        ({"min_accuracy": 0.1}, report(0, 0), {}, ["minAccuracy"]),
        ({"max_malformed": 0.05}, report(90, 10, malformed=0.06), {}, ["maxMalformed"]),
        ({"max_malformed": 0.05}, report(90, 10, malformed=0.05), {}, []),
        ({"max_regression": 0.02}, report(90, 10), {"promoted": report(92, 8)}, []),
        ({"max_regression": 0.02}, report(90, 10), {"promoted": report(93, 7)}, ["maxRegression"]),
        ({"max_regression": 0.0}, report(93, 7), {"promoted": report(90, 10)}, []),
        ({"max_regression": 0.02}, report(90, 10), {}, []),
        ({"max_regression": 0.02}, report(90, 10), {"expects_promoted": True}, ["maxRegression"]),
        ({}, report(90, 10), {"expects_promoted": True}, []),
        ({"max_forgetting": 0.1}, report(9, 1, loss=2.1), {"base": report(0, 10, loss=2.05)}, []),
        ({"max_forgetting": 0.1}, report(9, 1, loss=2.2), {"base": report(0, 10, loss=2.05)}, ["maxForgetting"]),
        ({"max_forgetting": 0.1}, report(9, 1, loss=2.2), {}, ["maxForgetting"]),
        ({}, report(99, 1, errors=1), {}, []),
        (
            {"min_accuracy": 0.9, "max_malformed": 0.1},
            report(10, 90, malformed=0.5),
            {},
            ["minAccuracy", "maxMalformed"],
        ),
    ],
)
def test_gate(gate: dict[str, Any], candidate: Report, others: dict[str, Any], failed: list[str]):
    result = decide(Gate(**gate), candidate, **others)
    assert [measure.name for measure in result.measures if not measure.passed] == failed
    assert result.passed is (failed == [])
    assert all(name in result.message for name in failed)
    assert bool(result.message) is bool(failed)


def test_the_message_says_which_measure_and_by_how_much():
    result = decide(Gate(min_accuracy=0.9, max_forgetting=0.1), report(80, 20))
    assert result.message == (
        "minAccuracy: got 0.8; expected at least 0.9; off by 0.1; "
        "maxForgetting: nothing was measured; expected at most 0.1"
    )
    assert result.model_dump(mode="json")["message"] == result.message


@pytest.mark.parametrize(
    ("candidate", "others"),
    [
        (report(98, 2, errors=2), {}),
        (report(0, 1, errors=1), {}),
        (report(99, 1), {"promoted": report(50, 50, errors=40)}),
        (report(99, 1), {"base": report(50, 50, errors=40)}),
    ],
)
def test_an_endpoint_that_does_not_answer_is_no_verdict_on_the_model(candidate: Report, others: dict[str, Any]):
    with pytest.raises(Unavailable, match=r"requests to 'm' got no answer \(HTTP 500: \d+\); expected at most 1%"):
        decide(Gate(min_accuracy=0.99, max_regression=0.1, max_forgetting=0.1), candidate, **others)


def test_what_a_gate_asks_nothing_of_may_be_unanswered():
    silent = report(0, 100, errors=100)
    assert decide(Gate(min_accuracy=0.99), report(99, 1), promoted=silent, base=silent).passed


def test_requests_that_the_model_has_no_room_for_are_wrong_but_no_fault_of_the_endpoint():
    candidate = report(90, 10, errors=10)
    total = candidate.total.model_copy(update={"error_reasons": {"prompt too long": 10}})
    candidate = candidate.model_copy(update={"total": total})
    assert decide(Gate(), candidate).passed
    assert not decide(Gate(min_accuracy=0.95), candidate).passed


def test_a_regression_counts_only_requests_that_both_were_asked():
    candidate, promoted = report(5, 5), report(8, 2)
    elsewhere = promoted.model_copy(update={"calls": {f"other/{n}": True for n in range(10)}})
    assert decide(Gate(max_regression=0.5), candidate, promoted=promoted).passed
    assert not decide(Gate(max_regression=0.5), candidate, promoted=elsewhere).passed
