"""What is due and when: the queue of documents, and the patience after failures."""

import threading

import pytest

from callwright.controller.cluster import TooManyRequests
from callwright.controller.patience import Patience
from callwright.controller.work_queue import WorkQueue
from callwright.errors import Conflict, Unavailable

A, B = ("team", "a"), ("team", "b")


def test_the_earliest_time_counts_and_a_key_is_taken_once() -> None:
    queue = WorkQueue()
    queue.add(A, seconds=3600)
    queue.add(B, seconds=0.01)
    queue.add(A)
    queue.add(A)
    assert (queue.take(), queue.take()) == (A, B)


def test_what_becomes_due_while_it_is_held_is_due_afterwards_and_not_before() -> None:
    queue = WorkQueue()
    queue.add(A)
    held = queue.take()
    queue.add(A)
    queue.add(B)
    assert (held, queue.take()) == (A, B), "nobody else takes what is held"
    queue.put_back(A, seconds=3600)
    assert queue.take() == A, "an event comes before the time that the look asked for"
    queue.put_back(A, seconds=None)
    queue.add(B)
    queue.put_back(B, seconds=None)
    assert queue.take() == B


def test_closing_lets_those_who_wait_go() -> None:
    queue, got = WorkQueue(), []
    waiting = threading.Thread(target=lambda: got.append(queue.take()))
    waiting.start()
    queue.close()
    waiting.join(10)
    assert got == [None]


def test_patience_grows_while_the_same_call_fails_and_begins_anew_where_another_does() -> None:
    patience = Patience("looking")
    same = [patience.after(Unavailable(f"PATCH /a: 500 {number}")) for number in range(7)]
    assert same == [0.2, 1.0, 5.0, 15.0, 60.0, 60.0, 60.0]
    assert patience.after(Conflict("PATCH /b: 409 changed")) == 0.2
    assert patience.after(Conflict("PATCH /b: 409 changed")) == 1.0
    patience.renew()
    assert patience.after(Conflict("PATCH /b: 409 changed")) == 0.2


def test_a_retry_after_is_waited_for() -> None:
    patience = Patience("looking")
    assert patience.after(TooManyRequests("GET /a: 429 later", 7)) == 7
    assert [patience.after(TooManyRequests("GET /a: 429 later", 3)) for _ in range(3)] == [3, 5.0, 15.0]


@pytest.mark.parametrize(("error", "traced"), [(Unavailable("GET /a: 500"), False), (KeyError("a"), True)])
def test_only_what_nobody_foresaw_has_a_traceback(
    error: Exception, traced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Patience("looking").after(error)
    (record,) = caplog.records
    assert bool(record.exc_info) is traced


def test_what_goes_ahead_is_taken_before_what_has_waited_for_less() -> None:
    queue = WorkQueue()
    for name in ("a", "b"):
        queue.add(("n", name))
    queue.add(("n", "c"), seconds=-5)
    queue.add(("n", "b"), seconds=-5)
    assert [queue.take() for _ in range(3)] == [("n", "c"), ("n", "b"), ("n", "a")]
