"""Small checkpoints and reports for tests: real files, a few bytes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.documents import canonical_json, write_bytes
from models.manifest import Lineage, Manifest, Source
from models.plan import announce
from models.policy import Policy
from models.report import Profile, Report
from models.store import CheckpointStore
from models.trust import Role, TrustedKey, TrustStore, key_id, trust_path

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy.load()
EVALUATOR, WALT, WANDA = (
    Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (11, 12, 13)
)
PROFILE = Profile(
    engine="vllm",
    engine_version="1",
    dtype="float32",
    flags=("--enforce-eager", "--max-model-len=2048"),
)
SOURCE = Source(name="n", package="p", version="1", sha256="0" * 64, license="Apache-2.0")


def put_base(
    store: CheckpointStore,
    weights: bytes,
    *,
    hazards: tuple[str, ...] = ("capitals",),
    created_at: datetime = NOW,
) -> Manifest:
    with store.staging() as staged:
        (staged / "model.safetensors").write_bytes(weights)
        return store.put(
            staged, family="smollm2", hazards=hazards, source=SOURCE, created_at=created_at
        )


def put_candidate(
    store: CheckpointStore,
    base: str,
    weights: bytes,
    *,
    hazards: tuple[str, ...] = ("capitals",),
) -> Manifest:
    lineage = Lineage(
        base=base,
        method="cut",
        recipe={},
        recipe_digest=base,
        corpora={},
        seed=0,
        steps=1,
        trained_tensors=(),
        code_commit="unknown",
    )
    with store.staging() as staged:
        (staged / "model.safetensors").write_bytes(weights)
        return store.put(staged, family="smollm2", hazards=hazards, lineage=lineage, created_at=NOW)


def put_report(
    store: CheckpointStore,
    made: Report,
    base: str,
    candidate: str,
    *,
    policy: Policy = POLICY,
    key: Ed25519PrivateKey = EVALUATOR,
    now: datetime | None = None,
    newest_was_ahead: bool = False,
) -> Report:
    """Announce a run, and store its report signed, as an evaluation would; trust the demo's keys.

    Unlike in production the moment of the announcement is the report's own start.
    """
    write_trust(store.root.parent)
    plan = announce(
        store,
        TrustStore(keys=(trusted(key, "eve", "evaluator"),)),
        key,
        policy,
        family=made.family,
        base=base,
        candidate=candidate,
        suite=made.suite,
        subsets=tuple(subset.name for subset in made.subsets),
        now=now or made.started_at,
        newest_was_ahead=newest_was_ahead,
    )
    given = {"base": base, "candidate": candidate, "plan": plan.document_digest}
    report = made.model_copy(update=given)
    store.put_report(report, [key])
    return report


def trusted(key: Ed25519PrivateKey, holder: str, role: Role = "releaser", **changes) -> TrustedKey:
    public = key.public_key().public_bytes_raw()
    given = {
        "keyid": key_id(public),
        "public": public.hex(),
        "holder": holder,
        "roles": (role,),
        "not_before": NOW - timedelta(days=1000),
        "expires_at": NOW + timedelta(days=10000),
    }
    return TrustedKey(**{**given, **changes})


TRUST = TrustStore(
    keys=(
        trusted(EVALUATOR, "eve", "evaluator"),
        trusted(WALT, "walt", "waiver"),
        trusted(WANDA, "wanda", "waiver"),
    )
)


def write_trust(home: Path, trust: TrustStore = TRUST) -> None:
    """Write a trust store unless there is one."""
    if not trust_path(home).exists():
        write_bytes(trust_path(home), canonical_json(trust.model_dump(mode="json")))
