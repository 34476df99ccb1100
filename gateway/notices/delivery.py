"""How a delivery ends when it does not succeed."""


class Failed(Exception):  # noqa: N818 - an outcome, not a fault of ours
    """A notice was not delivered; `is_final` when another attempt would end the same.

    The reason is shown in the admin API: never a secret, an address or an answer's content.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason[:200]
        self.is_final = is_final


class Dropped(Exception):  # noqa: N818 - an outcome, not a fault of ours
    """A notice that is for nobody any more; the reason is shown in the admin API."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason[:200]
