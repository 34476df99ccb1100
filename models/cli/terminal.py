"""The terminal, to which people's text goes as it was written, without what it would obey.

Where there is none (a pipe, a file, a job's log) tables are as wide as what they hold: a program
that reads them looks for whole digests and rules.
"""

import sys

from rich.console import Console

UNBOUNDED = 10_000


def table_console() -> Console:
    """Return a console that folds tables to the terminal's width."""
    return Console(width=_width())


def plain_console(*, stderr: bool = False, soft_wrap: bool = True) -> Console:
    """Return a console that takes no text for markup: `[/x]` in a reason would end the verb.

    Bars, and tables that are to fit, take one that does not leave wrapping to the terminal.
    """
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=soft_wrap,
        width=None if stderr else _width(),
    )


def printable(text: object) -> str:
    """Return what a terminal shows of a text, on one line, and without what it would obey."""
    line = "" if text is None else " ".join(str(text).split())
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in line)


def _width() -> int | None:
    return None if sys.stdout.isatty() else UNBOUNDED
