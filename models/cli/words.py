"""Names on the command line, as documents take them."""

import argparse

from pydantic import TypeAdapter, ValidationError

from models.documents import Name

NAME: TypeAdapter[str] = TypeAdapter(Name)


def name(text: str) -> str:
    """Return the name of a family or of a hazard domain, for argparse."""
    try:
        return NAME.validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of at most 63 of a-z, 0-9, '.', '_', '-'"
        ) from error
