"""The terminal, to which people's text goes as it was written, without what it would obey."""

from rich.console import Console


def plain_console() -> Console:
    """Return a console that takes no text for markup: `[/x]` in a reason would end the verb."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def printable(text: object) -> str:
    """Return what a terminal shows of a text, on one line, and without what it would obey."""
    line = "" if text is None else " ".join(str(text).split())
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in line)
