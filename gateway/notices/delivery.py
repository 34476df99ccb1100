"""How a delivery ends when it does not succeed."""


class Failed(Exception):  # noqa: N818 - an outcome, not a fault of ours
    """A notice was not delivered; `is_final` when another attempt would end the same.

    `asked_seconds` is for how long the receiver asked to be left alone, if it did.

    The reason is shown in the admin API: never a secret, an address or an answer's content.
    """

    def __init__(
        self, reason: str, *, is_final: bool = False, asked_seconds: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason[:200]
        self.is_final = is_final
        self.asked_seconds = asked_seconds


class Dropped(Exception):  # noqa: N818 - an outcome, not a fault of ours
    """A notice that is for nobody any more; the reason is shown in the admin API."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason[:200]
