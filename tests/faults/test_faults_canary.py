"""A canary beside a version of another dialect, under load, on real Ray Serve: it takes its share, each version answers
in its own dialect, and no request fails over its start, its run, its promotion and its being taken back.

Store, fetch, `build`, `Replica` and the sidecar are the real ones; the engine is scripted.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from test_faults_roll_dialects import Rolling, served

from callwright.server.config import ServedModel
from callwright.store.manifest import CANARY_PREFIX

pytestmark = pytest.mark.timeout(900)
Figure = Callable[[str, object, object], None]
WEIGHT = 20
CANARY = "callwright-canary"


class Trying(Rolling):
    """With a canary, as the controller has it beside the version that stands."""

    def try_version(self, version: str) -> None:
        """Start a canary, without waiting for it."""
        from ray import serve

        from callwright.server import app

        model = ServedModel(id="m", name="m", version=version)
        share = {"models": (model,), "min_replicas": 1, "max_replicas": 1, "canary_weight": WEIGHT}
        made = app.build(self._config.model_copy(update=share))
        target = serve.RunTarget(made, name=CANARY, route_prefix=CANARY_PREFIX)
        serve.run_many([target], wait_for_applications_running=False)

    def take_back(self) -> None:
        """Remove the canary, without waiting for its end."""
        from ray import serve

        serve.delete(CANARY, _blocking=False)

    def wait_until_gone(self) -> None:
        from ray import serve

        while CANARY in serve.status().applications:
            time.sleep(0.1)

    def see(self, count: int) -> Counter[str]:
        """The next so many answers."""
        begun = len(self.answers)
        self.wait_for_answers(begun + count)
        return Counter(self.answers[begun : begun + count])


@pytest.fixture(scope="module")
def trying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trying]:
    folder = tmp_path_factory.mktemp("canaries")
    with served(folder, Trying, models={"m": "m"}, canary_seconds=0.5) as made:
        yield made


@pytest.mark.parametrize(
    ("streams", "requests"), [(10, 300), pytest.param(100, 2000, marks=pytest.mark.slow)], ids=["", "2000 requests"]
)
def test_a_canary_takes_its_share_and_fails_no_request(
    trying: Trying, figure: Figure, streams: int, requests: int
) -> None:
    """Taken back once, then promoted: the standing version rolls to it."""
    trying.deploy("v1")
    trying.answers.clear()
    with trying.load():
        assert trying.see(20) == {"v1": 20}
        for is_promoted in (False, True):
            trying.try_version("v2")
            while "v2" not in trying.answers[-50:]:
                time.sleep(0.05)
            with trying.streams(streams) as ended:
                seen = trying.see(requests)
                trying.take_back()
                if is_promoted:
                    trying.deploy("v2", wait=False)
                    while trying.see(20) != {"v2": 20}:
                        pass
                else:
                    while trying.see(20) != {"v1": 20}:
                        pass
                    trying.see(100)
            assert seen.keys() == {"v1", "v2"}
            tolerance = 5 * math.sqrt(requests * WEIGHT / 100 * (1 - WEIGHT / 100))
            assert abs(seen["v2"] - requests * WEIGHT / 100) <= tolerance
            assert set(ended) <= {"v1", "v2"}
            figure(f"a canary of {WEIGHT} %: its share of {requests} requests", seen["v2"] / requests, WEIGHT / 100)
            trying.wait_until_gone()
    trying.wait_until_running()
    all_seen = Counter(trying.answers)
    assert all_seen.keys() == {"v1", "v2"}
    figure(f"a canary taken back, and one promoted: failed or misread of {all_seen.total()} requests", 0, 0)
