"""What goes wrong with kept contents. A leaf of the tree in `errors`, each with its HTTP row."""

from gateway.errors import AirlockError


class ContentsUnavailableError(AirlockError):
    """A request's contents must be kept, and cannot be now, so it must not be sent on."""

    def __init__(self) -> None:
        super().__init__("The contents of this request cannot be kept right now; try again.")
