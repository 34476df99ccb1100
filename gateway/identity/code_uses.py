"""Which logins' codes have been shown to their providers, and how many are being shown just now.

A code is good once, at the provider; a login's cookie is good for minutes. Kept in memory, so that
one login makes one question of each gateway, and however many come, few at a time.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.identity_errors import LoginFailedError, ProviderUnavailableError

MAX_UNDER_WAY = 100
"""At one issuer, so that nobody who makes codes up has it flooded with questions."""
MAX_KEPT = 10_000


class CodeUses:
    """The uses of one gateway."""

    def __init__(self) -> None:
        """Start with none."""
        self._used: dict[str, None] = {}
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def use(self, issuer: str, state: str) -> Iterator[None]:
        """Let the code of a login be shown to its provider.

        Args:
            issuer: Where.
            state: The login's.

        Raises:
            LoginFailedError: It was before, whatever code came then.
            ProviderUnavailableError: Too many are being shown.
        """
        if state in self._used:
            raise LoginFailedError("an answer to it was used before")
        if self._under_way[issuer] >= MAX_UNDER_WAY:
            raise ProviderUnavailableError
        while len(self._used) >= MAX_KEPT:
            self._used.pop(next(iter(self._used)))
        self._used[state] = None
        self._under_way[issuer] += 1
        try:
            yield
        finally:
            self._under_way[issuer] -= 1
