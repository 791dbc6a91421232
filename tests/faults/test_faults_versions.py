"""Two versions of two dialects on real Ray Serve and real vLLM, under load: a canary beside the version that stands,
and a roll to it. No request fails, and none is read in the other's dialect.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from test_faults_canary import Trying
from test_faults_roll_dialects import served

from callwright.server.replica import Replica
from models import EOS, scripted_model

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]
SCRIPTS = {
    "v1": (
        ("\n", "Thought: I should look."),
        ("Thought: I should look.", "\nAction: get_weather"),
        ("\nAction: get_weather", '\nAction Input: {"city": "v1"}'),
        ('\nAction Input: {"city": "v1"}', "\nObservation:"),
        ("\nObservation:", EOS),
    ),
    "v2": (
        ("\n", '<tool_call>{"name": "get_weather", '),
        ('<tool_call>{"name": "get_weather", ', '"arguments": {"city": "v2"}}'),
        ('"arguments": {"city": "v2"}}', "</tool_call>"),
        ("</tool_call>", EOS),
    ),
}
"""Each version calls with its own name, in its own dialect."""


def test_a_canary_and_a_roll_between_dialects_fail_no_request(
    tmp_path: Path, figure: Callable[[str, object, object], None]
) -> None:
    def files(version: str) -> dict[str, bytes]:
        folder = scripted_model(tmp_path / version, SCRIPTS[version])
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    with served(
        tmp_path, Trying, kind=Replica, replicas=1, files=files, models={"m": "m"}, canary_seconds=0.5
    ) as trying:
        with trying.load():
            assert trying.see(20) == {"v1": 20}
            trying.try_version("v2")
            while "v2" not in trying.answers[-50:]:
                assert {*trying.see(10)} <= {"v1", "v2"}
            assert trying.see(150).keys() == {"v1", "v2"}
            trying.take_back()
            trying.deploy("v2", wait=False)
            while trying.see(20) != {"v2": 20}:
                assert {*trying.answers} == {"v1", "v2"}
        trying.wait_until_gone()
        trying.wait_until_running()
        seen = Counter(trying.answers)
    assert seen.keys() == {"v1", "v2"}
    figure(f"a canary, and a roll to it, of real engines: failed or misread of {seen.total()} requests", 0, 0)
