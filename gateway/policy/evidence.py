"""Evidence: what was asserted about a person, by whom, until when, and what it verifies. Pure.

Who asserts decides what counts (the vocabulary is that of GA4GH Passport visas): a person's own
word, or a source that nobody named, verifies nothing. What concerns a hazard domain counts for that
domain alone. A verification lasts as long as the best evidence for it, a grant as long as the
shortest of the verifications that it needs; so less evidence never means more access.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Verification(StrEnum):
    """What has to be known of a person."""

    IDENTITY = "identity"
    AFFILIATION = "affiliation"
    TRAINING = "training"
    OVERSIGHT = "oversight"


class AssertedBy(StrEnum):
    """Whose word it is."""

    SELF = "self"
    PEER = "peer"
    SYSTEM = "system"
    SIGNING_OFFICIAL = "so"
    ACCESS_COMMITTEE = "dac"
    UNKNOWN = "unknown"


class EvidenceKind(StrEnum):
    """Where it comes from."""

    ID_CHECK = "id_check"
    FEDERATION = "federation"
    INSTITUTION_MAIL = "institution_mail"
    ORCID = "orcid"
    REFEREE = "referee"
    TRAINING = "training"
    APPROVAL_LETTER = "approval_letter"
    AFFILIATION_VISA = "affiliation_visa"
    RESEARCHER_VISA = "researcher_visa"
    ACCESS_VISA = "access_visa"
    TERMS_VISA = "terms_visa"


OF_VISAS = frozenset(
    {
        EvidenceKind.AFFILIATION_VISA,
        EvidenceKind.RESEARCHER_VISA,
        EvidenceKind.ACCESS_VISA,
        EvidenceKind.TERMS_VISA,
    }
)
"""What comes with a signature, and is not typed in by anybody."""

OF_THE_PERSON = frozenset({Verification.IDENTITY, Verification.AFFILIATION})
OF_THE_DOMAIN = frozenset({Verification.TRAINING, Verification.OVERSIGHT})

# Whatever is not here verifies nothing. ORCID is what its owner typed, unless the organisation
# itself has put the affiliation there.
PROVES: Mapping[tuple[EvidenceKind, AssertedBy], frozenset[Verification]] = {
    (EvidenceKind.ID_CHECK, AssertedBy.SYSTEM): frozenset({Verification.IDENTITY}),
    (EvidenceKind.ID_CHECK, AssertedBy.ACCESS_COMMITTEE): frozenset({Verification.IDENTITY}),
    (EvidenceKind.FEDERATION, AssertedBy.SYSTEM): OF_THE_PERSON,
    (EvidenceKind.INSTITUTION_MAIL, AssertedBy.SYSTEM): frozenset({Verification.AFFILIATION}),
    (EvidenceKind.ORCID, AssertedBy.SIGNING_OFFICIAL): frozenset({Verification.AFFILIATION}),
    (EvidenceKind.REFEREE, AssertedBy.PEER): frozenset({Verification.AFFILIATION}),
    (EvidenceKind.TRAINING, AssertedBy.SYSTEM): frozenset({Verification.TRAINING}),
    (EvidenceKind.TRAINING, AssertedBy.SIGNING_OFFICIAL): frozenset({Verification.TRAINING}),
    (EvidenceKind.APPROVAL_LETTER, AssertedBy.SIGNING_OFFICIAL): frozenset(
        {Verification.OVERSIGHT}
    ),
    # Signed elsewhere, and still a reviewer's to accept. Terms that were accepted elsewhere are
    # not ours, so they verify nothing.
    (EvidenceKind.AFFILIATION_VISA, AssertedBy.SYSTEM): frozenset({Verification.AFFILIATION}),
    (EvidenceKind.AFFILIATION_VISA, AssertedBy.SIGNING_OFFICIAL): frozenset(
        {Verification.AFFILIATION}
    ),
    (EvidenceKind.RESEARCHER_VISA, AssertedBy.PEER): frozenset({Verification.AFFILIATION}),
    (EvidenceKind.RESEARCHER_VISA, AssertedBy.SIGNING_OFFICIAL): frozenset(
        {Verification.AFFILIATION}
    ),
    (EvidenceKind.ACCESS_VISA, AssertedBy.ACCESS_COMMITTEE): frozenset({Verification.OVERSIGHT}),
}


Requirements = Mapping[Verification, frozenset[AssertedBy]]
"""What has to be verified for a grant, and whose word counts for each part of it."""

ANYBODY = frozenset(AssertedBy)
EVERYTHING: Requirements = dict.fromkeys(Verification, ANYBODY)
UNMEETABLE: Requirements = dict.fromkeys(Verification, frozenset())


def requirements(row: Mapping[str, Iterable[str]]) -> Requirements:
    """Return what a tier's row requires.

    A verification that this code does not know cannot be checked, so nothing meets a row that names
    one, nor one that names none; a source that it does not know is nobody's word.
    """
    by_name = {str(verification): verification for verification in Verification}
    sources = {str(source): source for source in AssertedBy}
    if not row or row.keys() - by_name.keys():
        return UNMEETABLE
    return {
        by_name[name]: frozenset(sources[one] for one in accepted if one in sources)
        for name, accepted in row.items()
    }


@dataclass(frozen=True)
class Evidence:
    """One assertion that a reviewer has accepted."""

    id: str
    kind: EvidenceKind
    domain: str | None
    """The hazard domain that training or oversight is for."""
    asserted_by: AssertedBy
    expires_at: datetime
    retracted: bool = False

    def verifies(
        self,
        verification: Verification,
        domain: str,
        accepted: frozenset[AssertedBy] = ANYBODY,
    ) -> bool:
        """Whether it counts for a verification that a grant for `domain` needs."""
        if self.retracted or self.asserted_by not in accepted:
            return False
        if verification not in PROVES.get((self.kind, self.asserted_by), ()):
            return False
        wanted = domain if verification in OF_THE_DOMAIN else None
        return self.domain == wanted


def verified_until(
    domain: str,
    held: Iterable[Evidence],
    needed: Requirements = EVERYTHING,
) -> datetime | None:
    """Return until when everything needed for a domain is verified; None when something is not."""
    held = tuple(held)
    ends = []
    for verification, accepted in needed.items():
        until = [item.expires_at for item in held if item.verifies(verification, domain, accepted)]
        if not until:
            return None
        ends.append(max(until))
    return min(ends, default=None)


def unverified(
    domain: str, held: Iterable[Evidence], needed: Requirements, now: datetime
) -> tuple[Verification, ...]:
    """Return what is not verified at a moment, sorted."""
    held = tuple(held)
    missing = []
    for verification, accepted in needed.items():
        until = verified_until(domain, held, {verification: accepted})
        if until is None or until <= now:
            missing.append(verification)
    return tuple(sorted(missing))
