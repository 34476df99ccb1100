"""Who calls the data plane: by a key of ours, or by an access token of an identity provider."""

from datetime import datetime

from gateway import clock
from gateway.audit.recorder import Caller, Recorder
from gateway.dataplane import intake
from gateway.dataplane.http import Scope
from gateway.dataplane.snapshot import Snapshot, SnapshotKeeper
from gateway.identity.bearer import Bearer, bearer_token
from gateway.identity.key_gate import KeyGate
from gateway.identity.principal import Principal
from gateway.identity_errors import AddressNotAllowedError


class Callers:
    """Tells who calls, at the snapshot's version."""

    def __init__(
        self,
        keeper: SnapshotKeeper,
        bearer: Bearer | None,
        gate: KeyGate,
        recorder: Recorder,
    ) -> None:
        """Look people up in the keeper's snapshot.

        Args:
            keeper: Who may call.
            bearer: Verifies access tokens; None where no token counts.
            gate: Lets keys in by address, and notes their use.
            recorder: The audit log.
        """
        self._keeper = keeper
        self._bearer = bearer
        self._gate = gate
        self._recorder = recorder

    async def identify(self, scope: Scope, request_id: str) -> tuple[Snapshot, Principal, datetime]:
        """Return the snapshot that knows who calls, who does, and the moment.

        Raises:
            AuthenticationError: It is not proven.
            AddressNotAllowedError: It is, from where the key may not be used.
            UnknownPersonError: It is, and they may not call.
            ProviderUnavailableError: It cannot be told.
            NotReadyError: The snapshot is too old.
        """
        authorization = intake.authorization(scope)
        token = bearer_token(authorization) if self._bearer is not None else None
        now = clock.now()
        if token is None or self._bearer is None:
            snapshot = self._keeper.current()
            principal = snapshot.directory.authenticate(authorization, now)
            self.check_address(scope, principal, request_id)
            self._gate.uses.note(principal.key_id, now.timestamp())
            return snapshot, principal, now
        proof = await self._bearer.prove(token, now.timestamp())
        # Read only now: somebody may have been shut out while a provider was asked.
        snapshot, now = self._keeper.current(), clock.now()
        return snapshot, snapshot.directory.named(proof, now), now

    def check_address(self, scope: Scope, principal: Principal, request_id: str) -> None:
        """Let somebody in from where they are, as their key is narrowed now.

        Raises:
            AddressNotAllowedError: The key may not be used from there.
        """
        refusal = self._gate.refusal(principal.key_id, principal.terms, scope)
        if refusal is None:
            return
        if refusal.is_news:
            who = Caller(principal.person_id, principal.key_id)
            self._recorder.refuse_address(request_id, who, refusal.address)
        raise AddressNotAllowedError
