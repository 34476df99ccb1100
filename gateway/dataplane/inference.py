"""From a body to an engine's answer: may this caller ask this, and which checkpoint answers?

Whose the request is and how its body came is known already; here it is understood, routed, counted,
put into the audit log and handed to the relay.
"""

import base64
import hmac
import logging
from datetime import datetime
from functools import partial

from gateway import clock
from gateway import errors as e
from gateway.audit.recorder import Caller, Recorder
from gateway.contents.keeping import Keeping, Kept
from gateway.dataplane.call import Call
from gateway.dataplane.endpoints import Endpoint
from gateway.dataplane.http import Recipient
from gateway.dataplane.kept_answer import KeptAnswer
from gateway.dataplane.limits import estimate
from gateway.dataplane.relay import Order, Relay
from gateway.dataplane.snapshot import Snapshot, SnapshotKeeper
from gateway.dataplane.wire.engine_body import encode
from gateway.dataplane.wire.request import Request, Seal, check_limits, decode
from gateway.identity.principal import Principal
from gateway.metrics import Metrics
from gateway.policy.routing import Denied, Routed, Unknown, missing_grants
from gateway.settings import Settings

NO_GRANTS: frozenset[str] = frozenset()
BATCH_PRIORITY = 101
"""After every tier, whose priorities go from -100 to 100; the lowest goes first."""
log = logging.getLogger(__name__)


class Inference:
    """Has engines answer requests."""

    def __init__(
        self,
        settings: Settings,
        keeper: SnapshotKeeper,
        relay: Relay,
        metrics: Metrics,
        recorder: Recorder,
        keeping: Keeping,
        salt_key: bytes,
    ) -> None:
        """Answer with these parts.

        Args:
            settings: Limits.
            keeper: Who may use what.
            relay: Answers.
            metrics: Counts.
            recorder: The audit log.
            keeping: Keeps contents, where they are kept.
            salt_key: Keeps tenants' prefix caches apart.
        """
        self._settings = settings
        self._keeper = keeper
        self._relay = relay
        self._metrics = metrics
        self._recorder = recorder
        self._keeping = keeping
        self._salt_key = salt_key
        self._salts: dict[tuple[str, str], str] = {}

    async def answer(
        self,
        call: Call,
        endpoint: Endpoint,
        snapshot: Snapshot,
        principal: Principal,
        body: bytes,
        to: Recipient,
        now: datetime,
    ) -> None:
        """Have an engine answer a request that has its place in the limits already.

        Whose it is was read from the snapshot at the moment that is given, just now.

        Raises:
            AirlockError: The request may not be served, or was not.
            ClientGoneError: The caller left.
        """
        request = self._understand(body, endpoint, principal)
        if call.is_batch and request.is_stream:
            raise e.UnsupportedParameterError("stream", "a batch's answers are no streams")
        grants = principal.domains(now)
        routed = self.choose(call, call.door or request.model, snapshot, principal, grants)
        self._keeper.check(snapshot, routed, principal, now)
        self._metrics.count_routed(call.tier, request.model, routed.alias.checkpoint)
        digest = routed.alias.checkpoint
        if (field := request.image_field()) and digest not in snapshot.catalogue.sighted:
            raise e.UnsupportedParameterError(field, "the model takes no images")
        call.checkpoint = digest
        if call.reservation is not None:
            call.reservation.take(*estimate(body, request, self._settings.max_output_tokens))
        permit = partial(self._forbid_violation, snapshot, routed, grants)
        order = Order(
            endpoint=endpoint,
            body=encode(request, self._seal(call, principal, digest, snapshot)),
            is_stream=request.is_stream,
            may_be_wrong=request.is_stream and request.may_break_its_stream,
            forward_usage=request.forwards_usage,
            choices=request.choices,
            request_id=call.request_id,
            key_id=principal.key_id,
            person_id=principal.person_id,
            priority=_priority(call, principal),
            routed=routed,
            lines=call.lines(),
            started_at=call.started_at,
            permit=permit,
            traceparent=call.trace.ask(routed.name, is_stream=request.is_stream)
            if call.trace
            else None,
        )
        is_always_logged = principal.tier.logs_every_request
        who = Caller(principal.person_id, principal.key_id, is_always_logged)
        family = snapshot.catalogue.families[routed.family]
        if call.is_batch:
            call.domains = missing_grants(family, routed.alias, NO_GRANTS)
        if not self._recorder.must_intend(who, family, routed):
            await self._relay.answer(order, to, call.outcome)
            return
        permit(digest)  # The log would refuse a violation as well, but without an alarm.
        kept = await self._keep(
            call, principal, missing_grants(family, routed.alias, NO_GRANTS), body
        )
        commitment = await self._recorder.intend(
            call.request_id,
            who,
            endpoint.path,
            family,
            routed,
            body,
            kept.intended if kept else None,
        )
        call.intended_by = who
        # The log may have taken its time, and asks of grants, not of keys.
        self._keeper.check_again(principal.key_id, routed, endpoint.path)
        if kept is None:
            await self._relay.answer(order, to, call.outcome)
            return
        call.kept = kept
        kept.begin(commitment)
        try:
            await self._relay.answer(order, KeptAnswer(kept, to), call.outcome)
        finally:
            kept.end()

    async def _keep(
        self, call: Call, principal: Principal, domains: frozenset[str], body: bytes
    ) -> Kept | None:
        """Return what keeps a request's contents; None where they are not to be kept.

        Raises:
            ContentsUnavailableError: They must be, and cannot.
        """
        if not domains or not self._keeping.demanded(principal.tier.keeps_contents):
            return None
        now = clock.now()
        grants = [
            grant.id for grant in principal.grants if grant.domain in domains and grant.is_live(now)
        ]
        return await self._keeping.prepare(call.request_id, grants, body)

    def _understand(self, body: bytes, endpoint: Endpoint, principal: Principal) -> Request:
        """Return a body as a request that the caller's tier may make."""
        request = decode(body, endpoint.decoder)
        used = check_limits(
            request,
            allowed=principal.tier.capabilities,
            max_output_tokens=self._settings.max_output_tokens,
        )
        for capability in used:
            self._metrics.capability_uses.labels(principal.tier.name, capability).inc()
        return request

    def choose(
        self,
        call: Call,
        requested: str,
        snapshot: Snapshot,
        principal: Principal,
        grants: frozenset[str],
    ) -> Routed:
        """Choose the checkpoint, and refuse what the caller's grants do not cover now.

        Raises:
            UnknownModelError: Nothing of that name is served.
            GrantRequiredError: It is, to others.
        """
        choice = snapshot.catalogue.route(requested, grants)
        match choice:
            case Unknown(name):
                raise e.UnknownModelError(name)
            case Denied(name, missing):
                who = Caller(principal.person_id, principal.key_id)
                self._recorder.deny(call.request_id, who, name, missing)
                raise e.GrantRequiredError(name, missing)
        call.alias = choice.name
        return choice

    def _forbid_violation(
        self, snapshot: Snapshot, routed: Routed, grants: frozenset[str], serving: str
    ) -> None:
        """Check once more, independently, that this engine may answer this caller.

        Raises:
            InternalError: It may not: a defect elsewhere, counted and stopped here.
        """
        family = snapshot.catalogue.families[routed.family]
        if serving != routed.alias.checkpoint or missing_grants(family, routed.alias, grants):
            self._metrics.tier_violations.inc()
            log.critical("a request was about to be answered by another door")
            raise e.InternalError

    def _seal(self, call: Call, principal: Principal, digest: str, snapshot: Snapshot) -> Seal:
        priority = _priority(call, principal) if self._settings.engine_priorities else 0
        most = self._settings.max_output_tokens
        length = snapshot.catalogue.max_model_lens.get(digest)
        # An engine refuses a bound that is beyond its model's, and goes no further without one.
        is_bounded = length is not None and length <= most
        return Seal(digest, self._cache_salt(principal), priority, None if is_bounded else most)

    def _cache_salt(self, principal: Principal) -> str:
        tenant = (principal.tier.name, principal.person_id)
        known = self._salts.get(tenant)
        if known is None:
            salt = hmac.digest(self._salt_key, "/".join(tenant).encode(), "sha256")
            known = base64.urlsafe_b64encode(salt).rstrip(b"=").decode()
            self._salts[tenant] = known
        return known


def _priority(call: Call, principal: Principal) -> int:
    return BATCH_PRIORITY if call.is_batch else -principal.tier.priority
