"""Approval: the second signature on a release, by who relies on nothing that the first wrote."""

from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.errors import PromotionRefusedError
from models.policy import Policy
from models.promotion import Signed, Wanted, draft, keep
from models.release import MAX_CLOCK_SKEW, SIGNERS, Release, proposal_path, versions
from models.signing import countersign, peek, unseal
from models.store import CheckpointStore
from models.trust import TrustStore


def proposed(
    store: CheckpointStore, trust: TrustStore, family: str, label: str, now: datetime
) -> Release:
    """Return the release that waits for a second signature, to show it.

    Raises:
        PromotionRefusedError: There is none that follows the newest release, or what is there is
            for another alias.
        SignatureError: No trusted releaser has signed it.
    """
    raw = _proposal(store, family, label)
    release = unseal(raw, Release, trust, "releaser", threshold=1, now=now)
    if (release.family, release.label) != (family, label):
        raise PromotionRefusedError(f"what is proposed as {family}:{label} is {release.alias}")
    return release


def approve(
    store: CheckpointStore,
    trust: TrustStore,
    release: Release,
    key: Ed25519PrivateKey,
    policy: Policy,
    now: datetime,
) -> Signed:
    """Examine a proposed release again and sign it as well.

    Args:
        store: Where the proposal is; its checkpoint is hashed and judged here too.
        trust: Whose signatures count.
        release: What the approver has read; signed only if it is still what is proposed, and what
            the registry would draft here and today.
        key: The approver's.
        policy: Today's limits.
        now: The moment.

    Raises:
        PromotionRefusedError: It may not take effect (any more), or another one is proposed now.
        SignatureError: The key is not a trusted releaser's other than the proposer.
    """
    raw = _proposal(store, release.family, release.label)
    if peek(raw, Release) != release:
        raise PromotionRefusedError("another release is proposed now; look at it first")
    check(store, trust, release, policy, now)
    signed = countersign(raw, Release, key)
    # Without a second holder nothing has changed: say so instead of keeping one more signature.
    unseal(signed, Release, trust, "releaser", threshold=SIGNERS, now=now)
    return keep(store, trust, signed, now)


def check(
    store: CheckpointStore, trust: TrustStore, release: Release, policy: Policy, now: datetime
) -> None:
    """Draft a proposed release again: who signed it first may have written anything.

    What a proposer chooses (profile, fingerprint, reason, end) is for the approver to read; all
    else must be what the registry says here and today.

    Raises:
        PromotionRefusedError: It claims something else, or may not take effect (any more).
    """
    wanted = Wanted(
        label=release.label,
        checkpoint=release.checkpoint,
        profile=release.profile,
        reason=release.reason,
        fingerprint=release.fingerprint,
    )
    expected = draft(store, trust, wanted, policy, now)
    if expected.verdict != release.verdict:
        raise PromotionRefusedError("its verdict is not what the gate says here and today")
    times = {"created_at": expected.created_at, "expires_at": expected.expires_at}
    claimed = release.model_copy(update=times)
    wrong = [name for name, value in expected if value != getattr(claimed, name)]
    if wrong:
        raise PromotionRefusedError(f"not what the registry says here: {', '.join(wrong)}")
    if release.created_at > now + MAX_CLOCK_SKEW:
        raise PromotionRefusedError("it was proposed in the future: check the clocks")
    if now >= release.expires_at:
        raise PromotionRefusedError("it has expired; propose it again")


def _proposal(store: CheckpointStore, family: str, label: str) -> bytes:
    found = versions(store, family, label)
    path = proposal_path(store, family, label, (found[-1] if found else 0) + 1)
    try:
        return path.read_bytes()
    except OSError as error:
        raise PromotionRefusedError(
            f"no next release of {family}:{label} is proposed; `airlock promote` one"
        ) from error
