"""People with keys, and releases that they sign, for tests."""

from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.policy import Policy
from models.promotion import Signed, Wanted, draft, sign
from models.release import Release
from models.report import Profile
from models.store import CheckpointStore
from models.trust import TrustStore, write_trust
from tests.models.checkpoints import NOW, PROFILE, trusted
from tests.models.checkpoints import TRUST as EVIDENCE_TRUST

ALICE, BOB, ALICES_SPARE, ENGINE = (
    Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3, 4)
)
POLICY = Policy.load()
TRUST = TrustStore(
    keys=(
        trusted(ALICE, "alice"),
        trusted(BOB, "bob"),
        trusted(ALICES_SPARE, "alice"),
        trusted(ENGINE, "engine", "engine"),
        *EVIDENCE_TRUST.keys,
    )
)


def trust_in(home: Path) -> None:
    write_trust(home, TRUST)


def point(
    store: CheckpointStore,
    digest: str,
    label: str = "unlearned",
    *,
    keys=(ALICE, BOB),
    now: datetime = NOW,
    policy: Policy = POLICY,
    profile: Profile = PROFILE,
    **given,
) -> Release:
    """Promote a checkpoint, signed by two people."""
    return propose(
        store, digest, label, keys=keys, now=now, policy=policy, profile=profile, **given
    ).release


def propose(
    store: CheckpointStore,
    digest: str,
    label: str = "unlearned",
    *,
    keys=(ALICE,),
    now: datetime = NOW,
    policy: Policy = POLICY,
    profile: Profile = PROFILE,
    **given,
) -> Signed:
    wanted = Wanted(label=label, checkpoint=digest, profile=profile, reason="test", **given)
    return sign(store, TRUST, draft(store, TRUST, wanted, policy, now), keys, now)
