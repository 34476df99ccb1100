"""How much a person and an organisation may use: requests, tokens, and how much at a time.

Counted in this process, in fixed windows: a minute for requests and tokens, a day (UTC) for the
token budget. Tokens are reserved before an engine is asked and settled by its own count after; what
an engine never worked on is given back. A tier's numbers are those of each of its members over all
of their keys; an organisation has the tier's multiple of them over all of its members.
"""

import time
from dataclasses import dataclass

from gateway.dataplane.wire import InferenceRequest
from gateway.errors import QuotaExceededError, RateLimitedError
from gateway.identity.principal import Principal
from gateway.policy.grants import TierTerms

MINUTE, DAY = 60.0, 86_400
IDLE_ACCOUNTS = 10_000
"""With more accounts, those that are idle and have nothing left to remember are dropped."""


@dataclass(slots=True)
class Account:
    """What one person or organisation has used."""

    minute_began: float = 0.0
    requests: int = 0
    tokens: int = 0
    day: int = 0
    day_tokens: int = 0
    running: int = 0

    def turn(self, now: float) -> None:
        """Start the windows anew whose time is over; a clock that jumps back starts none."""
        if now >= self.minute_began + MINUTE:
            self.minute_began, self.requests, self.tokens = now, 0, 0
        day = int(now // DAY)
        if day > self.day:
            self.day, self.day_tokens = day, 0


class Reservation:
    """One request's share of the limits, until it is settled."""

    __slots__ = ("_accounts", "_is_settled", "_now", "_reserved", "_terms")

    def __init__(self, terms: TierTerms, accounts: tuple[tuple[Account, int], ...], now: float):
        """Hold a place in each account; each comes with its multiple of the tier's numbers."""
        self._terms = terms
        self._accounts = accounts
        self._now = now
        self._reserved: list[tuple[Account, int, float, int]] = []
        self._is_settled = False

    def take(self, tokens: int) -> None:
        """Reserve tokens.

        Raises:
            RateLimitedError: The minute's are used up.
            QuotaExceededError: The day's are.
        """
        terms = self._terms
        for account, multiple in self._accounts:
            account.turn(self._now)
            if account.tokens + tokens > terms.tokens_per_minute * multiple:
                wait = account.minute_began + MINUTE - self._now
                raise RateLimitedError("tokens per minute", terms.tokens_per_minute, wait)
            if account.day_tokens + tokens > terms.tokens_per_day * multiple:
                raise QuotaExceededError(terms.tokens_per_day, DAY - self._now % DAY)
        for account, _ in self._accounts:
            account.tokens += tokens
            account.day_tokens += tokens
            self._reserved.append((account, tokens, account.minute_began, account.day))

    def settle(self, tokens: int) -> None:
        """Count what was used instead of what was reserved, and give the place back; only once."""
        if self._is_settled:
            return
        self._is_settled = True
        for account, _ in self._accounts:
            account.running -= 1
        for account, reserved, minute_began, day in self._reserved:
            # A window that has begun since has nothing of the reservation in it.
            if account.minute_began == minute_began:
                account.tokens += tokens - reserved
            if account.day == day:
                account.day_tokens += tokens - reserved

    def headers(self) -> dict[str, str]:
        """Return the `x-ratelimit-*` headers: the person's, who is what a client can act for."""
        account, terms = self._accounts[0][0], self._terms
        reset = _duration(max(0.0, account.minute_began + MINUTE - self._now))
        return {
            "x-ratelimit-limit-requests": str(terms.requests_per_minute),
            "x-ratelimit-remaining-requests": str(
                max(0, terms.requests_per_minute - account.requests)
            ),
            "x-ratelimit-reset-requests": reset,
            "x-ratelimit-limit-tokens": str(terms.tokens_per_minute),
            "x-ratelimit-remaining-tokens": str(max(0, terms.tokens_per_minute - account.tokens)),
            "x-ratelimit-reset-tokens": reset,
        }


class Limits:
    """Everybody's accounts."""

    def __init__(self) -> None:
        """Start with nothing used."""
        self._accounts: dict[tuple[str, str], Account] = {}

    def spend(self, principal: Principal, now: float | None = None) -> Reservation:
        """Count one request, which holds a place until it is settled.

        Args:
            principal: Whose.
            now: Seconds since 1970.

        Raises:
            RateLimitedError: The minute's requests are used up, or as many run as may.
        """
        now = time.time() if now is None else now
        terms = principal.tier
        organisation = principal.standing.organisation
        accounts = (
            (self._account("person", principal.person_id), 1),
            (self._account("organisation", organisation), terms.organisation_multiple),
        )[: 2 if organisation else 1]
        for account, multiple in accounts:
            account.turn(now)
            if account.requests >= terms.requests_per_minute * multiple:
                wait = account.minute_began + MINUTE - now
                raise RateLimitedError("requests per minute", terms.requests_per_minute, wait)
            if account.running >= terms.max_concurrent * multiple:
                raise RateLimitedError("requests at a time", terms.max_concurrent, 1.0)
        for account, _ in accounts:
            account.requests += 1
            account.running += 1
        return Reservation(terms, accounts, now)

    def _account(self, kind: str, name: str) -> Account:
        account = self._accounts.get((kind, name))
        if account is None:
            if len(self._accounts) >= IDLE_ACCOUNTS:
                self._sweep()
            account = self._accounts[kind, name] = Account()
        return account

    def _sweep(self) -> None:
        now = time.time()
        for name, account in list(self._accounts.items()):
            is_over = now >= account.minute_began + MINUTE and account.day < int(now // DAY)
            if account.running == 0 and is_over:
                del self._accounts[name]


def estimate(body: bytes, request: InferenceRequest, max_output_tokens: int) -> int:
    """Return how many tokens a request may cost at most, more or less: what is reserved for it.

    A token has three bytes or more in nearly every text; the engine's own count settles it.
    """
    wanted = getattr(request, "max_completion_tokens", None) or request.max_tokens
    choices = request.n if isinstance(request.n, int) else 1
    output = wanted if isinstance(wanted, int) else max_output_tokens
    return len(body) // 3 + output * choices


def _duration(seconds: float) -> str:
    """Return seconds as OpenAI's headers have them: `1s`, `6m0s`."""
    whole = round(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
