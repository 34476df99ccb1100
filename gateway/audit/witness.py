"""A witness: a process apart that cosigns a log's checkpoints, and never two histories.

It keeps the newest checkpoint that it has cosigned. What is older, does not grow out of it, or has
another root at the same size gets no cosignature.
Protocol: https://c2sp.org/tlog-witness (`POST /add-checkpoint`).
"""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.audit.checkpoint import (
    MAX_NOTE_BYTES,
    SIZE,
    Checkpoint,
    Note,
    SignerKey,
    VerifierKey,
    is_signed,
    parse_note,
)
from gateway.audit.tree import EMPTY_ROOT, is_consistent
from gateway.errors import AuditFileError
from models.documents import write_bytes

MAX_PROOF_LINES = 63


class Submission(NamedTuple):
    """A checkpoint with the proof that it grew out of an older one."""

    old_size: int
    proof: list[bytes]
    note: Note


class Answer(NamedTuple):
    """What a witness says: a cosignature, or why not."""

    status: int
    body: str


class Witness:
    """Cosigns the checkpoints of one log."""

    def __init__(self, state: Path, signer: SignerKey, log: VerifierKey) -> None:
        """Take up where the file `state` was left; a file that is not there is an empty log.

        Raises:
            AuditFileError: The state is damaged: whoever repairs it must know what was cosigned.
        """
        self._state = state
        self._signer = signer
        self._log = log
        self._newest = Checkpoint(log.name, 0, EMPTY_ROOT)
        if state.exists():
            note = parse_note(state.read_text())
            if not is_signed(note, log):
                raise AuditFileError(f"{state} is no checkpoint of {log.name}")
            self._newest = note.checkpoint

    def consider(self, submission: Submission, posix_seconds: int) -> Answer:
        """Return the cosignature, after it is on disk what was cosigned; or the refusal."""
        note, known = submission.note, self._newest
        given = note.checkpoint
        if given.origin != self._log.name:
            return Answer(404, "unknown log\n")
        if not is_signed(note, self._log):
            return Answer(403, "not signed by the log\n")
        if submission.old_size > given.size:
            return Answer(400, "the old size is larger than the checkpoint's\n")
        if submission.old_size != known.size:
            return Answer(409, f"{known.size}\n")
        if given.size == known.size and given.root != known.root:
            return Answer(409, f"{known.size}\n")
        if not is_consistent(known.size, given.size, known.root, given.root, submission.proof):
            return Answer(422, "the log did not grow out of what was cosigned\n")
        if given.size:
            write_bytes(self._state, note.text.encode(), mode=0o600)
        self._newest = given
        return Answer(200, self._signer.sign(given, posix_seconds))


def parse_submission(text: str) -> Submission:
    """Read the body of `add-checkpoint`.

    Raises:
        AuditFileError: It is none.
    """
    head, separator, note = text.partition("\n\n")
    first, *proof = head.split("\n")
    word, _, size = first.partition(" ")
    if not separator or word != "old" or not SIZE.match(size) or len(proof) > MAX_PROOF_LINES:
        raise AuditFileError("this is no submission of a checkpoint")
    try:
        hashes = [base64.b64decode(line, validate=True) for line in proof]
    except ValueError as error:
        raise AuditFileError("a line of the proof is no base64") from error
    return Submission(int(size), hashes, parse_note(note))


def format_submission(submission: Submission) -> str:
    """Write the body of `add-checkpoint`."""
    proof = "".join(base64.b64encode(each).decode() + "\n" for each in submission.proof)
    return f"old {submission.old_size}\n{proof}\n{submission.note.text}"


def witness_app(witness: Witness, clock: Callable[[], float]) -> Starlette:
    """Return the witness as an ASGI application."""
    # Comparing with what is kept and keeping the new one is one step, or two could fork it.
    one_at_a_time = anyio.Lock()

    async def add_checkpoint(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > 2 * MAX_NOTE_BYTES:
                return Response("too long\n", 413)
        try:
            submission = parse_submission(body.decode())
        except (AuditFileError, UnicodeDecodeError) as error:
            return Response(f"{error}\n", 400)
        async with one_at_a_time:
            answer = await anyio.to_thread.run_sync(witness.consider, submission, int(clock()))
        kind = "text/x.tlog.size" if answer.status == 409 else "text/plain"
        return Response(answer.body, answer.status, media_type=kind)

    return Starlette(routes=[Route("/add-checkpoint", add_checkpoint, methods=["POST"])])
