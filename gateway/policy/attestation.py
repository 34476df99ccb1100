"""What an engine attests, held against what is released. Pure.

A checkpoint or profile other than the released one takes an engine out at once. The same bytes
under another version of the release are no danger and happen whenever a release is renewed, since
launcher and gateway look at the files at different moments: such an answer only does not renew the
engine's term.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Attested:
    """What an engine's launcher has signed."""

    checkpoint: str
    profile: str
    release: str
    engine_start: str
    """Another one whenever the engine's process is another one."""


@dataclass(frozen=True)
class Unattested:
    """Why an answer counts for nothing."""

    reason: str


@dataclass(frozen=True)
class Answer:
    """What a checkpoint says to a prompt, token by token."""

    prompt: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Pointer:
    """A release that counts, as far as it concerns its engines."""

    release: str
    checkpoint: str
    profile: str
    fingerprint: tuple[Answer, ...] = ()


Standing = Literal["matches", "other version", "other weights"]


def standing(attested: Attested, pointers: Sequence[Pointer]) -> Standing:
    """Return how what is attested stands to the releases that count."""
    same = [
        pointer
        for pointer in pointers
        if (pointer.checkpoint, pointer.profile) == (attested.checkpoint, attested.profile)
    ]
    if any(pointer.release == attested.release for pointer in same):
        return "matches"
    return "other version" if same else "other weights"
