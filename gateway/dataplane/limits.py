"""How much a person and an organisation may use: requests, tokens, and how much at a time.

Decided from this process's memory, to which `ledger` adds what other workers have counted. Tokens
are reserved before an engine is asked and settled by its own count after; what an engine never
worked on is given back. A tier's numbers are those of each of its members over all
of their keys; an organisation has the tier's multiple of them over all of its members.
"""

import time
from collections.abc import Iterator

from gateway.dataplane.accounts import DAY, MINUTE, Account, Moment
from gateway.dataplane.outcome import Outcome
from gateway.dataplane.wire.request import Request
from gateway.errors import QuotaExceededError, RateLimitedError
from gateway.identity.principal import Principal
from gateway.policy.grants import TierTerms

IDLE_ACCOUNTS = 10_000
"""With more accounts, those that are idle and have nothing left to remember are dropped."""


class Reservation:
    """One request's share of the limits, until it is settled."""

    __slots__ = (
        "_accounts",
        "_is_settled",
        "_now",
        "_prompt",
        "_reserved",
        "_share",
        "_taken",
        "_terms",
    )

    def __init__(
        self,
        terms: TierTerms,
        accounts: tuple[tuple[Account, int], ...],
        now: Moment,
        share: float,
    ) -> None:
        """Hold a place in each account; each comes with its multiple of the tier's numbers."""
        self._share = share
        self._terms = terms
        self._accounts = accounts
        self._now = now
        self._reserved: list[tuple[Account, int, float, int]] = []
        self._prompt = self._taken = 0
        self._is_settled = False

    def take(self, prompt: int, output: int) -> None:
        """Reserve tokens.

        Args:
            prompt: Of the prompt, by estimate.
            output: As many as the answer may have.

        Raises:
            RateLimitedError: The minute's are used up.
            QuotaExceededError: The day's are.
        """
        terms, tokens = self._terms, prompt + output
        for account, multiple in self._accounts:
            factor = multiple * self._share
            used = account.tokens + account.others.tokens
            if used + tokens > terms.tokens_per_minute * factor:
                wait = account.minute_began + MINUTE - self._now.monotonic
                raise RateLimitedError("tokens per minute", terms.tokens_per_minute, wait)
            used = account.day_tokens + account.others.day_tokens
            if used + tokens > terms.tokens_per_day * factor:
                raise QuotaExceededError(terms.tokens_per_day, DAY - self._now.wall % DAY)
        self._prompt, self._taken = prompt, tokens
        for account, _ in self._accounts:
            account.tokens += tokens
            account.day_tokens += tokens
            self._reserved.append((account, tokens, account.minute_began, account.day))

    def settle(self, outcome: Outcome, *, was_left: bool) -> None:
        """Count what was used instead of what was reserved, and give the place back; only once.

        The engine's own count decides: in a stream of chat or completions it comes with every
        event. An answer that its caller left before there was one costs what was reserved, and a
        stream whose API counts at the end its prompt and a token for each event. Leaving early must
        not be a way to use engines for nothing.

        Args:
            outcome: What became of the request.
            was_left: Whether its caller left before the end, or was made to.
        """
        if self._is_settled:
            return
        self._is_settled = True
        usage = outcome.usage
        tokens = usage.prompt_tokens + usage.completion_tokens
        if was_left and not usage.completion_tokens and outcome.asked_at is not None:
            prompt = usage.prompt_tokens or self._prompt
            tokens = prompt + outcome.events if outcome.events else self._taken
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
        reset = _duration(max(0.0, account.minute_began + MINUTE - self._now.monotonic))
        return {
            "x-ratelimit-limit-requests": str(terms.requests_per_minute),
            "x-ratelimit-remaining-requests": str(
                max(0, terms.requests_per_minute - account.requests - account.others.requests)
            ),
            "x-ratelimit-reset-requests": reset,
            "x-ratelimit-limit-tokens": str(terms.tokens_per_minute),
            "x-ratelimit-remaining-tokens": str(
                max(0, terms.tokens_per_minute - account.tokens - account.others.tokens)
            ),
            "x-ratelimit-reset-tokens": reset,
        }


class Limits:
    """Everybody's accounts."""

    def __init__(self) -> None:
        """Start with nothing used."""
        self._accounts: dict[tuple[str, str], Account] = {}
        self.share = 1.0
        """The part of every limit that counts here; below 1 while other workers are not known."""

    def accounts(self) -> Iterator[tuple[str, str, Account]]:
        """Yield every account with its kind and name."""
        for (kind, name), account in list(self._accounts.items()):
            yield kind, name, account

    def spend(self, principal: Principal, now: Moment | None = None) -> Reservation:
        """Count one request, which holds a place until it is settled.

        Args:
            principal: Whose.
            now: The moment; the real one by default.

        Raises:
            RateLimitedError: The minute's requests are used up, or as many run as may.
        """
        now = now or Moment(time.monotonic(), time.time())
        terms = principal.tier
        organisation = principal.standing.organisation
        accounts = (
            (self._account("person", principal.person_id), 1),
            (self._account("organisation", organisation), terms.organisation_multiple),
        )[: 2 if organisation else 1]
        for account, multiple in accounts:
            account.turn(now)
            factor = multiple * self.share
            if account.requests + account.others.requests >= terms.requests_per_minute * factor:
                wait = account.minute_began + MINUTE - now.monotonic
                raise RateLimitedError("requests per minute", terms.requests_per_minute, wait)
            if account.running + account.others.running >= terms.max_concurrent * factor:
                raise RateLimitedError("requests at a time", terms.max_concurrent, 1.0)
        for account, _ in accounts:
            account.requests += 1
            account.running += 1
        return Reservation(terms, accounts, now, self.share)

    def _account(self, kind: str, name: str) -> Account:
        account = self._accounts.get((kind, name))
        if account is None:
            if len(self._accounts) >= IDLE_ACCOUNTS:
                self._sweep()
            account = self._accounts[kind, name] = Account()
        return account

    def _sweep(self) -> None:
        now = Moment(time.monotonic(), time.time())
        for name, account in list(self._accounts.items()):
            is_over = (
                now.monotonic >= account.minute_began + MINUTE and account.day < now.wall // DAY
            )
            if account.running == 0 and is_over:
                del self._accounts[name]


def estimate(body: bytes, request: Request, max_output_tokens: int) -> tuple[int, int]:
    """Return how many tokens a request's prompt and answer may cost: what is reserved for them.

    A token has three bytes or more in nearly every text; the engine's own count settles it.
    """
    return len(body) // 3, request.output_tokens(max_output_tokens)


def _duration(seconds: float) -> str:
    """Return seconds as OpenAI's headers have them: `1s`, `6m0s`."""
    whole = round(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
