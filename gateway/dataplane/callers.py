"""Who calls the data plane: by a key of ours, or by an access token of an identity provider."""

from datetime import UTC, datetime

from gateway.dataplane import intake
from gateway.dataplane.http import Scope
from gateway.dataplane.snapshot import Snapshot, SnapshotKeeper
from gateway.identity.bearer import Bearer, bearer_token
from gateway.identity.principal import Principal


class Callers:
    """Tells who calls, at the snapshot's version."""

    def __init__(self, keeper: SnapshotKeeper, bearer: Bearer | None) -> None:
        """Look people up in the keeper's snapshot; without `bearer` no token counts."""
        self._keeper = keeper
        self._bearer = bearer

    async def identify(self, scope: Scope) -> tuple[Snapshot, Principal]:
        """Return who calls, and the snapshot that knows them.

        Raises:
            AuthenticationError: It is not proven.
            UnknownPersonError: It is, and they may not call.
            ProviderUnavailableError: It cannot be told.
            NotReadyError: The snapshot is too old.
        """
        authorization = intake.authorization(scope)
        token = bearer_token(authorization) if self._bearer is not None else None
        now = datetime.now(UTC)
        if token is None or self._bearer is None:
            snapshot = self._keeper.current()
            return snapshot, snapshot.directory.authenticate(authorization, now)
        proof = await self._bearer.prove(token, now.timestamp())
        # Read only now: somebody may have been shut out while a provider was asked.
        snapshot = self._keeper.current()
        return snapshot, snapshot.directory.named(proof, now)
