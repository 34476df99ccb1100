"""How much a person and an organisation may use: requests, tokens, and how much at a time.

Decided from this process's memory, to which `ledger` adds what other workers have counted. Tokens
are reserved before an engine is asked and settled by its own count after; what an engine never
worked on is given back. A tier's numbers are those of each of its members over all of their keys; a
key may have some of its own, which can only be tighter; an organisation has the tier's multiple
over all of its members. Each limit counts, so that the tightest wins.
"""

import time
from typing import NamedTuple, Protocol

from gateway.dataplane.accounts import DAY, MINUTE, Account, Moment, Name
from gateway.dataplane.outcome import Outcome
from gateway.dataplane.wire.request import Request
from gateway.errors import QuotaExceededError, RateLimitedError
from gateway.identity.principal import Principal
from gateway.limit_errors import TooManyTokensError

IDLE_ACCOUNTS = 10_000
"""With more accounts, those that are idle and have nothing left to remember are dropped; again
when there are twice as many as were left."""


class Terms(Protocol):
    """The numbers of a tier, or of a key."""

    @property
    def requests_per_minute(self) -> int: ...
    @property
    def tokens_per_minute(self) -> int: ...
    @property
    def tokens_per_day(self) -> int: ...
    @property
    def max_concurrent(self) -> int: ...


Share = tuple[Account, Terms, int]
"""An account that a request counts in, and a multiple of some numbers that it may hold."""


class Reservation:
    """One request's share of the limits, until it is settled."""

    __slots__ = (
        "_is_held",
        "_now",
        "_own",
        "_part",
        "_prompt",
        "_refused",
        "_reserved",
        "_shares",
        "_taken",
    )

    def __init__(self, shares: tuple[Share, ...], own: int, now: Moment, part: float) -> None:
        """Hold nothing yet.

        Args:
            shares: The accounts that it counts in.
            own: How many of them, from the first, are the person's and the key's.
            now: The moment.
            part: Of every limit, that counts here.
        """
        self._part = part
        self._shares = shares
        self._own = own
        self._refused: Share | None = None
        self._now = now
        self._reserved: list[tuple[Account, int, float, int]] = []
        self._prompt = self._taken = 0
        self._is_held = False

    def enter(self) -> None:
        """Count the request, which holds a place in each account until it is settled.

        Raises:
            RateLimitedError: The minute's requests are used up, or as many run as may.
        """
        now = self._now
        for share in self._shares:
            account, terms, multiple = share
            account.turn(now)
            factor = multiple * self._part
            if account.requests + account.others.requests >= terms.requests_per_minute * factor:
                self._refused = share
                wait = account.minute_began + MINUTE - now.monotonic
                raise RateLimitedError("requests per minute", terms.requests_per_minute, wait)
            if account.running + account.others.running >= terms.max_concurrent * factor:
                self._refused = share
                raise RateLimitedError("requests at a time", terms.max_concurrent, 1.0)
        for account, _, _ in self._shares:
            account.requests += 1
            account.running += 1
            account.note()
        self._is_held = True

    def take(self, prompt: int, output: int) -> None:
        """Reserve tokens.

        Args:
            prompt: Of the prompt, by estimate.
            output: As many as the answer may have.

        Raises:
            RateLimitedError: The minute's are used up.
            QuotaExceededError: The day's are.
            TooManyTokensError: The whole minute, or day, has fewer.
        """
        tokens = prompt + output
        for share in self._shares:
            account, terms, multiple = share
            factor = multiple * self._part
            used = account.tokens + account.others.tokens
            if used + tokens > terms.tokens_per_minute * factor:
                self._refused = share
                _check_size("tokens per minute", terms.tokens_per_minute * multiple, tokens)
                wait = account.minute_began + MINUTE - self._now.monotonic
                raise RateLimitedError("tokens per minute", terms.tokens_per_minute, wait)
            used = account.day_tokens + account.others.day_tokens
            if used + tokens > terms.tokens_per_day * factor:
                self._refused = share
                _check_size("tokens per day", terms.tokens_per_day * multiple, tokens)
                raise QuotaExceededError(terms.tokens_per_day, DAY - self._now.wall % DAY)
        self._prompt, self._taken = prompt, tokens
        for account, _, _ in self._shares:
            account.tokens += tokens
            account.day_tokens += tokens
            account.note()
            self._reserved.append((account, tokens, account.minute_began, account.day))

    def settle(self, outcome: Outcome) -> None:
        """Count what was used instead of what was reserved, and give the place back; only once.

        A request that was not let in has no place to give back.

        The engine's own count decides: in a stream of chat or completions it comes with every
        event. An answer that its caller left before there was one costs what was reserved, and a
        stream whose API counts at the end its prompt and a token for each event. Leaving early must
        not be a way to use engines for nothing.

        Args:
            outcome: What became of the request.
        """
        if not self._is_held:
            return
        self._is_held = False
        usage = outcome.usage
        tokens = usage.prompt_tokens + usage.completion_tokens
        if outcome.was_left and not usage.completion_tokens and outcome.asked_at is not None:
            prompt = usage.prompt_tokens or self._prompt
            tokens = prompt + outcome.events if outcome.events else self._taken
        for account, _, _ in self._shares:
            account.running -= 1
            account.note()
        for account, reserved, minute_began, day in self._reserved:
            # A window that has begun since has nothing of the reservation in it.
            if account.minute_began == minute_began:
                account.tokens += tokens - reserved
            if account.day == day:
                account.day_tokens += tokens - reserved

    def lines(self) -> str:
        """Return the `x-ratelimit-*` headers: of the person or the key, whichever has less left.

        They are what a client can act for; their organisation is shown where it has refused.
        """
        shares = self._shares[: self._own]
        if self._refused is not None:
            shares = (*shares, self._refused)
        requests = tokens = shares[0]
        if len(shares) > 1:
            requests = min(shares, key=self._requests_left)
            tokens = min(shares, key=self._tokens_left)
        reset = self._reset(requests)
        return (
            f"x-ratelimit-limit-requests: {requests[1].requests_per_minute * requests[2]}\r\n"
            f"x-ratelimit-remaining-requests: {self._requests_left(requests)}\r\n"
            f"x-ratelimit-reset-requests: {reset}\r\n"
            f"x-ratelimit-limit-tokens: {tokens[1].tokens_per_minute * tokens[2]}\r\n"
            f"x-ratelimit-remaining-tokens: {self._tokens_left(tokens)}\r\n"
            f"x-ratelimit-reset-tokens: {reset if tokens is requests else self._reset(tokens)}\r\n"
        )

    def _requests_left(self, share: Share) -> int:
        account, terms, multiple = share
        used = account.requests + account.others.requests
        return max(0, int(terms.requests_per_minute * multiple * self._part) - used)

    def _tokens_left(self, share: Share) -> int:
        account, terms, multiple = share
        used = account.tokens + account.others.tokens
        return max(0, int(terms.tokens_per_minute * multiple * self._part) - used)

    def _reset(self, share: Share) -> str:
        return _duration(max(0.0, share[0].minute_began + MINUTE - self._now.monotonic))


class _Known(NamedTuple):
    """Where somebody's requests count."""

    principal: Principal
    """As the directory knew them: another version of them may have other terms."""
    shares: tuple[Share, ...]
    own: int


class Limits:
    """Everybody's accounts."""

    def __init__(self) -> None:
        """Start with nothing used."""
        self._accounts: dict[Name, Account] = {}
        self._sweep_at = IDLE_ACCOUNTS
        self._known: dict[str, _Known] = {}
        """By key."""
        self.share = 1.0
        """The part of every limit that counts here; below 1 while other workers are not known."""
        self.changed: dict[Name, Account] = {}
        """The accounts that other workers are to be told of."""

    def reserve(self, principal: Principal, now: Moment | None = None) -> Reservation:
        """Return a request's share of the limits; it holds nothing before it enters.

        Args:
            principal: Whose.
            now: The moment; the real one by default.
        """
        now = now or Moment(time.monotonic(), time.time())
        known = self._known.get(principal.key_id)
        if known is None or known.principal is not principal:
            known = self._open(principal)
        return Reservation(known.shares, known.own, now, self.share)

    def _open(self, principal: Principal) -> "_Known":
        if len(self._accounts) >= self._sweep_at or len(self._known) >= 2 * self._sweep_at:
            self._sweep()
        tier, organisation = principal.tier, principal.standing.organisation
        shares: tuple[Share, ...] = ((self._account("person", principal.person_id), tier, 1),)
        if (limits := principal.terms.limits) is not None:
            shares = (*shares, (self._account("key", principal.key_id), limits, 1))
        own = len(shares)
        if organisation:
            account = self._account("organisation", organisation)
            shares = (*shares, (account, tier, tier.organisation_multiple))
        known = self._known[principal.key_id] = _Known(principal, shares, own)
        return known

    def _account(self, kind: str, name: str) -> Account:
        account = self._accounts.get((kind, name))
        if account is None:
            account = self._accounts[kind, name] = Account((kind, name), self.changed)
        return account

    def _sweep(self) -> None:
        self._known.clear()  # What is dropped must not be counted in any more.
        now = Moment(time.monotonic(), time.time())
        for name, account in list(self._accounts.items()):
            is_over = (
                now.monotonic >= account.minute_began + MINUTE and account.day < now.wall // DAY
            )
            if account.running == 0 and is_over:
                del self._accounts[name]
                self.changed.pop(name, None)
        # Today's are all kept: to look at them again for each of their owners' requests would take
        # milliseconds of everybody's time.
        self._sweep_at = max(IDLE_ACCOUNTS, 2 * len(self._accounts))


def estimate(body: bytes, request: Request, max_output_tokens: int) -> tuple[int, int]:
    """Return how many tokens a request's prompt and answer may cost: what is reserved for them.

    A token has three bytes or more in nearly every text; the engine's own count settles it.
    """
    return len(body) // 3, request.output_tokens(max_output_tokens)


def _check_size(what: str, limit: int, tokens: int) -> None:
    """Refuse a request for good that alone is more than a limit.

    Raises:
        TooManyTokensError: It is.
    """
    if tokens > limit:
        raise TooManyTokensError(what, limit, tokens)


def _duration(seconds: float) -> str:
    """Return seconds as OpenAI's headers have them: `1s`, `6m0s`."""
    whole = round(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
