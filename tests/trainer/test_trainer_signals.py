"""A signal asks for an end, a second Ctrl-C brings it; afterwards signals belong to whoever trained."""

import os
import signal
import threading

import pytest

from callwright.trainer.signals import run_aside, stopping_on_signals, termination_ends

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


@pytest.mark.parametrize("first", HANDLED)
def test_ctrl_c_after_a_signal_waits_for_nothing(first: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in HANDLED]
    asked, ended = threading.Event(), threading.Event()

    def work() -> None:
        os.kill(os.getpid(), first)
        assert asked.wait(30)
        os.kill(os.getpid(), signal.SIGINT)
        ended.wait(30)

    with pytest.raises(KeyboardInterrupt), stopping_on_signals(asked.set):
        run_aside(work)
    ended.set()
    assert [signal.getsignal(each) for each in HANDLED] == before


def test_termination_ends_the_process_as_a_shell_says_and_is_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(SystemExit) as end,
        termination_ends(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
    assert end.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), stopping_on_signals(lambda: None) as notice:
        run_aside(lambda: 1 / 0)
    assert notice.number is None
