"""What tests of faults share: the figures that they show, printed as one table at the end of the run."""

from collections.abc import Callable

import pytest

_FIGURES: list[tuple[str, str, str]] = []


@pytest.fixture(scope="session")
def figure() -> Callable[[str, object, object], None]:
    """Returns a function that notes a figure: the fault, what was seen, and the bound that the test holds it to.

    figure("a head of 300 MB: memory of the sidecar, MiB", 71, "at most 128")
    """

    def note(fault: str, seen: object, bound: object) -> None:
        _FIGURES.append((fault, str(seen), str(bound)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table."""
    if not _FIGURES:
        return
    widths = [max(len(row[column]) for row in _FIGURES) for column in range(2)]
    terminalreporter.section("figures of the tests of faults")
    for fault, seen, bound in _FIGURES:
        terminalreporter.line(f"{fault:<{widths[0]}}  {seen:>{widths[1]}}  {bound}")
