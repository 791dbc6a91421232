"""A signal asks for an end, a second Ctrl-C brings it; afterwards signals belong to whoever trained."""

import os
import signal
import threading

import pytest

from callsmith.trainer.signals import run_aside, stopping_on_signals

HANDLED = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", HANDLED)
def test_a_signal_asks_and_the_work_goes_on_to_its_end(number: signal.Signals) -> None:
    before, asked, said = [signal.getsignal(each) for each in HANDLED], threading.Event(), list[str]()

    def work() -> None:
        os.kill(os.getpid(), number)
        assert asked.wait(30)

    with stopping_on_signals(asked.set, said.append) as notice:
        run_aside(work)
    assert notice.number == number
    assert said == ["train: stopping after this step, with a checkpoint; Ctrl-C stops at once"]
    assert [signal.getsignal(each) for each in HANDLED] == before


def test_a_second_ctrl_c_waits_for_nothing() -> None:
    before = [signal.getsignal(each) for each in HANDLED]
    asked, ended = threading.Event(), threading.Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(30)
        os.kill(os.getpid(), signal.SIGINT)
        ended.wait(30)

    with pytest.raises(KeyboardInterrupt), stopping_on_signals(asked.set):
        run_aside(work)
    ended.set()
    assert [signal.getsignal(each) for each in HANDLED] == before


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), stopping_on_signals(lambda: None) as notice:
        run_aside(lambda: 1 / 0)
    assert notice.number is None
