"""Numbers on the command line, within the bounds of what takes them."""

import argparse
from collections.abc import Callable

LARGEST = 2**31 - 1
"""That every database takes."""


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a word as a whole number within bounds, for argparse."""

    def read(word: str) -> int:
        try:
            number = int(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{word!r} is no whole number") from error
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{word} is not between {least} and {most}")
        return number

    return read


port = whole(0, 65_535)
"""A port; 0 is any that is free. A server would take a larger number for another one's."""
