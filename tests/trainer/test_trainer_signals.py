"""Ctrl-C after a training belongs to whoever trained, not to Ray Train any more."""

import contextlib
import signal
from typing import Any

import pytest

from callsmith.errors import InvalidInput
from callsmith.trainer.training import _fit, _stopping_on_sigterm


class Trainer:
    """Takes SIGINT for itself, as Ray Train does, and may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def fit(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._error:
            raise self._error


@pytest.mark.parametrize("error", [None, InvalidInput("training: no")])
def test_the_handler_before_is_back(error: Exception | None) -> None:
    before, asked = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    trainer: Any = Trainer(error)
    expected = contextlib.nullcontext() if error is None else pytest.raises(InvalidInput)
    with expected, _stopping_on_sigterm(board=None):
        _fit(trainer)
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGTERM) is asked
