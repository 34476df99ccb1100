"""The terminal, to which people's text goes as it was written, without what it would obey."""

from rich.console import Console


def plain_console(*, stderr: bool = False, soft_wrap: bool = True) -> Console:
    """Return a console that takes no text for markup: `[/x]` in a reason would end the verb.

    Bars, and tables that are to fit, take one that does not leave wrapping to the terminal.
    """
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap)


def printable(text: object) -> str:
    """Return what a terminal shows of a text, on one line, and without what it would obey."""
    line = "" if text is None else " ".join(str(text).split())
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in line)
