"""`Audit`: a line of JSON for each request, on a logger of its own, without anything that a client or a model has said.

Every value is a number, the sidecar's own word, the name of a key, or a model's that the sidecar was configured with or
the engine has told.
"""

import json
import logging
import re
import secrets
import sys
from datetime import UTC, datetime

LOGGER = logging.getLogger("callwright.audit")
_is_id = re.compile(r"[0-9A-Fa-f-]{8,64}").fullmatch
Value = str | int | float | bool | None


def write_to_stdout() -> None:
    """Have the lines written to standard output, and nowhere else."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def request_id(*given: str | None) -> str:
    """Return the id of a request: the first `given` one of hexadecimal digits and hyphens, as proxies make them, or
    a new one.
    """
    return next((each for each in given if each and _is_id(each)), None) or secrets.token_hex(8)


def write(fields: dict[str, Value]) -> None:
    """Write the line of a request that has ended."""
    if LOGGER.isEnabledFor(logging.INFO):
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now} | fields)
        LOGGER.handle(logging.LogRecord(LOGGER.name, logging.INFO, __file__, 0, line, None, None))
