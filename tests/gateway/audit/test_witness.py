"""The witness: cosigns growth, refuses forks and older trees, and remembers over a restart."""

import socket
import subprocess
import sys

import anyio
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit.checkpoint import (
    LOG,
    Checkpoint,
    Note,
    SignerKey,
    VerifierKey,
    is_signed,
    parse_note,
)
from gateway.audit.notary import Notary
from gateway.audit.tree import consistency_ranges, leaf_hash, root_of
from gateway.audit.witness import (
    Submission,
    Witness,
    format_submission,
    parse_submission,
    witness_app,
)
from gateway.cli import main
from gateway.errors import AuditFileError
from tests.gateway.audit.test_checkpoint import CLERK, KEY
from tests.servers import serving, wait_for

RUN = "import sys; from gateway.cli import main; sys.exit(main())"
LEAVES = [leaf_hash(bytes([i])) for i in range(20)]
FORK = [leaf_hash(b"fork"), *LEAVES[1:]]


def submission(old: int, size: int, leaves=LEAVES, key=KEY, origin="airlock/audit") -> Submission:
    ranges = consistency_ranges(old, size) if 0 < old <= size else []
    checkpoint = Checkpoint(origin, size, root_of(leaves[:size]))
    proof = [root_of(leaves[slice(*each)]) for each in ranges]
    return Submission(old, proof, Note(checkpoint, (key.sign(checkpoint),)))


@pytest.fixture
def witness(tmp_path) -> Witness:
    return Witness(tmp_path / "state", CLERK, KEY.verifier)


def test_growth_is_cosigned(witness):
    for old, size in ((0, 0), (0, 3), (3, 3), (3, 4), (4, 19)):
        given = submission(old, size)
        answer = witness.consider(given, 1_700_000_000)
        assert answer.status == 200, (old, size)
        assert is_signed(parse_note(given.note.text + answer.body), CLERK.verifier)


OTHER_KEY = SignerKey("airlock/audit", LOG, Ed25519PrivateKey.from_private_bytes(b"o" * 32))
OTHER_LOG = SignerKey("other/log", LOG, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
REFUSED = {
    "an older tree": (submission(0, 5), 409),
    "an older tree, with a size": (submission(10, 5), 400),
    "a fork of the same size": (submission(10, 10, FORK), 409),
    "a fork that is larger": (submission(10, 12, FORK), 422),
    "a larger tree without proof": (submission(10, 12)._replace(proof=[]), 422),
    "another key": (submission(10, 12, key=OTHER_KEY), 403),
    "another log": (submission(10, 12, key=OTHER_LOG, origin="other/log"), 404),
}


@pytest.mark.parametrize(("given", "status"), REFUSED.values(), ids=REFUSED)
def test_forks_and_older_trees_are_refused_also_after_a_restart(witness, tmp_path, given, status):
    assert witness.consider(submission(0, 10), 1).status == 200
    for one in (witness, Witness(tmp_path / "state", CLERK, KEY.verifier)):
        answer = one.consider(given, 2)
        assert answer.status == status
        assert "—" not in answer.body
        if status == 409:
            assert answer.body == "10\n"
    assert witness.consider(submission(10, 12), 3).status == 200


def test_a_damaged_state_is_no_empty_state(tmp_path):
    state = tmp_path / "state"
    for damaged in ("", submission(0, 3, key=OTHER_KEY).note.text):
        state.write_text(damaged)
        with pytest.raises(AuditFileError):
            Witness(state, CLERK, KEY.verifier)


@pytest.mark.parametrize(
    "text", ["", "old x\n\n", "new 3\n\n", "old 03\n\n", "old 3\n!\n\n", "old 3\né\n\n"]
)
def test_what_is_no_submission_is_refused(text):
    with pytest.raises(AuditFileError):
        parse_submission(text + submission(0, 3).note.text)


def test_over_http(witness):
    with serving(witness_app(witness, lambda: 1_700_000_000.0), lifespan="off") as url:
        given = submission(0, 3)
        answer = httpx.post(f"{url}/add-checkpoint", content=format_submission(given))
        assert answer.status_code == 200
        assert is_signed(parse_note(given.note.text + answer.text), CLERK.verifier)
        answer = httpx.post(f"{url}/add-checkpoint", content=format_submission(given))
        assert (answer.status_code, answer.text) == (409, "3\n")
        assert answer.headers["content-type"].startswith("text/x.tlog.size")
        assert httpx.post(f"{url}/add-checkpoint", content=b"x" * 40_000).status_code == 413
        assert httpx.post(f"{url}/add-checkpoint", content=b"\xff").status_code == 400


def test_the_notary_has_growth_cosigned_and_a_rewritten_log_refused(settings, witness, tmp_path):
    import aiohttp
    from sqlalchemy import text

    from gateway.audit.log import append
    from gateway.metrics import Metrics
    from tests.gateway.audit.conftest import entry, opened

    async def main(url: str) -> None:
        chosen = settings.model_copy(
            update={"audit_witness_url": url, "audit_witness_key": str(CLERK.verifier)}
        )
        async with opened(chosen) as database, aiohttp.ClientSession() as client:

            async def grow(count: int) -> None:
                async with database.transaction() as session:
                    await append(session, [entry(i) for i in range(count)])

            others: list[tuple[int, bool]] = []

            async def on_other(size: int, is_forked: bool) -> None:
                others.append((size, is_forked))

            def notary() -> Notary:
                return Notary(database, KEY, client, Metrics("0"), chosen, on_other)

            first = notary()
            for count in (3, 300):
                await grow(count)
                note = await first.notarise()
                assert is_signed(note, CLERK.verifier)
                assert is_signed(note, KEY.verifier)
            await grow(1)
            # A replica that starts now learns from the witness how far it is.
            assert is_signed(await notary().notarise(), CLERK.verifier)
            assert is_signed(await notary().notarise(), CLERK.verifier)
            async with database.transaction() as session:
                await session.execute(
                    text("UPDATE audit_head SET size = 0, frontier = :none"), {"none": b""}
                )
                for table in ("audit_nodes", "audit_checkpoints"):
                    await session.execute(text(f"DELETE FROM {table}"))
                if settings.is_embedded:
                    for action in ("update", "delete"):
                        await session.execute(text(f"DROP TRIGGER audit_entries_stay_{action}"))
                else:
                    await session.execute(text("DROP TRIGGER audit_entries_stay ON audit_entries"))
                await session.execute(text("DELETE FROM audit_entries"))
            await grow(2)
            with pytest.raises(AuditFileError, match="here are 2"):
                await notary().notarise()
            await grow(398)
            with pytest.raises(AuditFileError, match="422"):
                await notary().notarise()
            assert others == [(304, False), (304, True)]

    with serving(witness_app(witness, lambda: 1_700_000_000.0), lifespan="off") as url:
        anyio.run(main, url)


def test_the_verb_makes_its_key_and_remembers_over_a_restart(tmp_path):
    key, state = tmp_path / "witness.pem", tmp_path / "witness.state"

    def answer(given: Submission) -> tuple[str, httpx.Response]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = ["--key", key, "--log-key", str(KEY.verifier), "--state", state, "--port", port]
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "audit", "witness", *map(str, words)],
            stdout=subprocess.PIPE,
            text=True,
        )
        output = process.stdout
        assert output is not None
        try:
            public = output.readline()
            wait_for(lambda: is_listening(port), 30)
            url = f"http://127.0.0.1:{port}/add-checkpoint"
            return public, httpx.post(url, content=format_submission(given))
        finally:
            process.terminate()
            process.wait(10)
            output.close()

    public, cosigned = answer(submission(0, 3))
    note = parse_note(submission(0, 3).note.text + cosigned.text)
    assert is_signed(note, VerifierKey.parse(public))
    again, refused = answer(submission(0, 5))
    assert (again, refused.status_code, refused.text) == (public, 409, "3\n")


def is_listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_a_log_key_that_was_not_given_yet_is_said(tmp_path, capsys):
    """Compose starts the witness without one until `.env` has it."""
    key, state = str(tmp_path / "key.pem"), str(tmp_path / "state")
    assert main(["audit", "witness", "--key", key, "--state", state, "--log-key="]) == 2
    assert capsys.readouterr().err.startswith("error: the key '': this is no public key")
