"""The moment by which access is judged: the wall's clock, which may be set, but never back.

What has ended (a grant, a key, a release, a day's key of contents) does not begin to count again
because somebody or something sets the clock of a gateway back while it runs. A clock that is set
forward counts at once, and is forgotten when it is put right.
"""

import time
from datetime import UTC, datetime

_AHEAD = time.time() - time.monotonic()
"""Of the wall's clock, at the process's start: by it, time passes however that clock is set."""


def now() -> datetime:
    """Return the moment, never earlier than the start and what has passed since then."""
    return datetime.fromtimestamp(max(time.time(), time.monotonic() + _AHEAD), UTC)
