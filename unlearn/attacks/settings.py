"""Settings: the attacks of the depth that a command line names."""

from typing import cast, get_args

from models.attacks import Attack, Depth, attacks_at
from unlearn.errors import SuiteError


def attacks_of(depth: str) -> tuple[Attack, ...]:
    """Return the attacks of a depth, in the order in which they are run.

    Raises:
        SuiteError: There is no such depth.
    """
    if depth not in get_args(Depth):
        raise SuiteError("depth", f"{depth} is none of {', '.join(get_args(Depth))}")
    return attacks_at(cast(Depth, depth))
