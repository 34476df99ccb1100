"""Receipts: one file that proves offline what an answer rested on, from grant to data set.

    intent   who asked which checkpoint, under which grants, policy and release    in the log
    grants   the entries that made those grants, by whom they were approved        in the log
    outcome  how it ended, how many tokens                                         in the log
    release  what the alias pointed to, signed by two people; holds the verdict
    report   what was measured, signed by the evaluator; names its data sets

A base checkpoint has no verdict of its own: its report is that of its family's public release,
which measured it as the control; that release is then in the file too.
"""

import base64
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.audit.checkpoint import Checkpoint, VerifierKey, is_signed, parse_note
from gateway.audit.entry import Leaf, read_leaf
from gateway.audit.intents import ENDED, INTENDED, policy_digest
from gateway.audit.log import Proven
from gateway.audit.tree import is_included, leaf_hash
from gateway.errors import AuditFileError
from models.errors import SignatureError
from models.release import PUBLIC_LABEL, SIGNERS, Release
from models.report import Report
from models.signing import unseal
from models.trust import TrustStore


class ProvenEntry(BaseModel):
    """An entry and the proof that it is in the log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    leaf: str
    proof: tuple[str, ...]
    """Base64, from the leaf upwards."""

    @classmethod
    def of(cls, found: Proven) -> "ProvenEntry":
        """Write a proven leaf."""
        proof = tuple(base64.b64encode(each).decode() for each in found.proof)
        return cls(leaf=found.leaf.decode(), proof=proof)


class Receipt(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    request_id: str
    checkpoint: str
    """Of the log: the signed note that every proof leads to."""
    intent: ProvenEntry
    outcome: ProvenEntry | None
    grants: tuple[ProvenEntry, ...]
    release: str
    public_release: str | None
    report: str


class Chain(NamedTuple):
    """What a receipt has proven, as lines to read."""

    facts: tuple[str, ...]


def read_receipt(raw: bytes) -> Receipt:
    """Read a receipt.

    Raises:
        AuditFileError: It is none.
    """
    try:
        return Receipt.model_validate_json(raw)
    except ValidationError as error:
        raise AuditFileError("this is no receipt of a known form") from error


def verify_receipt(
    receipt: Receipt,
    key: VerifierKey,
    trust: TrustStore,
    witness: VerifierKey | None = None,
) -> Chain:
    """Return what a receipt proves.

    Args:
        receipt: The file.
        key: The log's.
        trust: Whose signatures on releases and reports count.
        witness: Who must have cosigned the log's checkpoint, too.

    Raises:
        AuditFileError: A link of the chain does not hold; the sentence says which.
    """
    note = parse_note(receipt.checkpoint)
    _must(is_signed(note, key), "the log's checkpoint is not signed by the log")
    if witness is not None:
        _must(is_signed(note, witness), "the log's checkpoint is not signed by the witness")
    intent = proven_leaf(receipt.intent, note.checkpoint)
    _must(intent.entry.tag == INTENDED, "the intent is an entry of another kind")
    _must(intent.entry.subject == receipt.request_id, "the intent is of another request")
    grants = [proven_leaf(each, note.checkpoint) for each in receipt.grants]
    facts = [*_intent_facts(intent), *_grant_facts(intent, grants)]
    if receipt.outcome is not None:
        facts.append(_outcome_fact(proven_leaf(receipt.outcome, note.checkpoint), intent))
    facts += _release_facts(receipt, intent, trust)
    return Chain((*facts, f"the log had {note.checkpoint.size} entries"))


def proven_leaf(given: ProvenEntry, checkpoint: Checkpoint) -> Leaf:
    """Return an entry that is in the log.

    Raises:
        AuditFileError: It is not.
    """
    raw = given.leaf.encode()
    leaf = read_leaf(raw)
    try:
        proof = [base64.b64decode(each, validate=True) for each in given.proof]
    except ValueError as error:
        raise AuditFileError("a proof is no base64") from error
    is_in = is_included(leaf_hash(raw), leaf.seq, checkpoint.size, proof, checkpoint.root)
    _must(is_in, f"entry {leaf.seq} is not in the log")
    return leaf


def _intent_facts(intent: Leaf) -> list[str]:
    said = intent.entry.detail
    tier = said["tier"]
    _must(isinstance(tier, dict), "the intent names no tier")
    assert isinstance(tier, dict)  # noqa: S101 - for the type checker
    _must(policy_digest(tier) == said["policy"], "the policy is not that of the tier's terms")
    return [
        f"{intent.entry.actor} of {said['organisation']} asked {said['alias']} "
        f"at {intent.entry.at.isoformat()} with key {said['key']}",
        f"under policy {said['policy']} (tier {tier['name']})",
    ]


def _grant_facts(intent: Leaf, grants: Sequence[Leaf]) -> list[str]:
    made = {leaf.entry.subject: leaf for leaf in grants}
    named = intent.entry.detail["grants"]
    _must(isinstance(named, list) and bool(named), "the intent names no grants")
    assert isinstance(named, list)  # noqa: S101 - for the type checker
    facts = []
    for grant in named:
        leaf = made.get(grant["id"])
        _must(leaf is not None, f"grant {grant['id']} is not in the receipt")
        assert leaf is not None  # noqa: S101 - for the type checker
        entry = leaf.entry
        _must(leaf.seq < intent.seq, f"grant {grant['id']} is younger than the request")
        _must(
            f"person:{entry.detail.get('person')}" == intent.entry.actor
            and entry.detail.get("domain") == grant["domain"],
            f"grant {grant['id']} was given to another person, or for another domain",
        )
        # Who makes a grant alone, an administrator, is its approver; others are named beside.
        _must(
            entry.detail.get("approved_by", entry.actor) == grant["approved_by"],
            f"grant {grant['id']} was approved by others",
        )
        facts.append(
            f"grant {grant['id']} for {grant['domain']}, approved by {grant['approved_by']}, "
            f"recorded by {entry.actor} as entry {leaf.seq}, until {grant['expires_at']}"
        )
    return facts


def _outcome_fact(outcome: Leaf, intent: Leaf) -> str:
    entry = outcome.entry
    same = (entry.tag, entry.subject, entry.actor)
    _must(
        same == (ENDED, intent.entry.subject, intent.entry.actor) and outcome.seq > intent.seq,
        "the outcome is not that of the request",
    )
    said = entry.detail
    return (
        f"it ended with {said['outcome']}: {said['prompt_tokens']} tokens in, "
        f"{said['completion_tokens']} out"
    )


def _release_facts(receipt: Receipt, intent: Leaf, trust: TrustStore) -> list[str]:
    said, at = intent.entry.detail, intent.entry.at
    try:
        release = unseal(
            receipt.release.encode(), Release, trust, "releaser", threshold=SIGNERS, now=at
        )
        judged = release
        if receipt.public_release is not None:
            judged = unseal(
                receipt.public_release.encode(),
                Release,
                trust,
                "releaser",
                threshold=SIGNERS,
                now=at,
            )
        report = unseal(receipt.report.encode(), Report, trust, "evaluator", threshold=1, now=at)
    except SignatureError as error:
        raise AuditFileError(f"release or report: {error}") from error
    _must(release.document_digest == said["release"], "the release is another than the intent's")
    _must(
        (release.alias, release.checkpoint) == (said["alias"], said["checkpoint"]),
        "the release is of another alias or checkpoint",
    )
    if judged is not release:
        is_public = (judged.family, judged.label) == (release.family, PUBLIC_LABEL)
        _must(is_public, "the second release is not the family's public one")
    verdict = judged.verdict
    _must(verdict is not None, "no verdict stands behind the release")
    assert verdict is not None  # noqa: S101 - for the type checker
    _must(report.document_digest == verdict.report, "the report is not the one that was judged")
    measured = report.candidate if judged is release else report.base
    _must(measured == release.checkpoint, "the report measured another checkpoint")
    role = "candidate" if judged is release else "base, as the control"
    return [
        f"checkpoint {release.checkpoint}, release {said['release']}",
        f"gate verdict {judged.verdict_digest}: {verdict.outcome} under policy {verdict.policy}",
        f"report {verdict.report} measured it as {role}",
        *sorted({f"data set {each.dataset.name} {each.dataset.digest}" for each in report.subsets}),
    ]


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AuditFileError(otherwise)
