"""Contents over HTTP: kept where they must be, opened by two people, gone when it is time."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import delete, func, select, update

from gateway.audit.entry import read_leaf
from gateway.audit.log import append, prove_inclusion, sign_head
from gateway.audit.log_key import log_signer
from gateway.audit.receipts import ProvenEntry
from gateway.cli import main
from gateway.cli.tables import in_transaction, with_database
from gateway.contents.bundle import Bundle, open_bundle, read_bundle
from gateway.contents.holder import make_holder, read_private
from gateway.contents.keeping import Keeping
from gateway.contents.sealing import Place, commit, new_part_key, seal, to_text
from gateway.controlplane import organisations
from gateway.controlplane.contents import destroy_key, forget
from gateway.db import Database
from gateway.errors import AuditFileError, NotReadyError
from gateway.identity.secret import load_secret
from gateway.settings import Settings
from gateway.tables import AuditEntry, ContentKey, ContentOpening, KeptContent
from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.dataplane.test_audit import SECRET_WORD, entries
from tests.servers import wait_for

ASK = {"model": "smollm2:base", "messages": [{"role": "user", "content": SECRET_WORD}]}
PEOPLE = {"ulla": "auditor", "otto": "auditor", "app": "approver", "ivy": "identity_reviewer"}


class Board:
    """People who look into contents, with workflow keys."""

    def __init__(self, running) -> None:
        self.running = running
        self.keys, self.people = {}, {}
        for name, role in PEOPLE.items():
            given = {"name": name, "organisation": "Board", "tier": "public"}
            person = running.admin("POST", "/people", json=given).json()["id"]
            running.admin("PUT", f"/people/{person}/roles", json={"roles": [role]})
            key = running.admin("POST", "/keys", json={"person_id": person, "workflow": True})
            assert key.status_code == 201, key.text
            self.keys[name], self.people[name] = key.json()["key"], person
        for row in running.admin("GET", "/organisations").json():
            running.admin("PATCH", f"/organisations/{row['id']}", json={"state": "verified"})

    def call(self, who: str, path: str, **body) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[who]}"}
        url = f"{self.running.url}/admin/v1/contents/openings{path}"
        return httpx.post(url, headers=headers, timeout=30, **({"json": body} if body else {}))

    def ask(self, request_id: str, who: str = "ulla") -> str:
        answer = self.call(who, "", request_id=request_id, reason="case 12")
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def open(self, request_id: str) -> Bundle:
        opening = self.ask(request_id)
        assert self.call("app", f"/{opening}/approve").status_code == 200
        answer = self.call("ulla", f"/{opening}/release")
        assert answer.status_code == 200, answer.text
        return read_bundle(answer.content)


def with_holder(home: Path) -> dict[str, object]:
    """Make the holder's pair; return the settings of a gateway that seals to it."""
    public = home / "holder.pub"
    public.write_text(make_holder(home / "holder.pem", None))
    return {"contents_key_file": public}


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("contents")
    given = {**with_holder(home), "keep_contents": "base"}
    with run_gateway(make_settings(request, home, "postgresql"), **given) as made:
        yield made


@pytest.fixture(scope="module")
def board(running) -> Board:
    return Board(running)


@pytest.fixture(scope="module")
def private(running) -> X25519PrivateKey:
    return read_private(running.settings.home / "holder.pem", None)


@pytest.fixture(scope="module")
def log_key(running):
    return log_key_of(running)


def log_key_of(running):
    return log_signer(running.settings, load_secret(running.settings)).verifier


def keeping_of(running) -> Keeping:
    """The gateway's part that keeps contents."""
    return running.gateway.data_plane._inference._keeping


def asked(running, parts: int = 2, **extra) -> httpx.Response:
    """A base request whose parts are kept by now."""
    answer = running.post("researcher", {**ASK, **extra})
    assert answer.status_code == 200, answer.text
    request_id = answer.headers["x-request-id"]
    entries(running, request_id, 2)

    async def count(session) -> int:
        query = select(func.count()).where(KeptContent.request_id == request_id)
        return await session.scalar(query)

    wait_for(lambda: in_transaction(running.settings, count) == parts)
    return answer


def as_a_role_goes(board: Board, who: str, step: Callable[[], httpx.Response]) -> httpx.Response:
    """Return the answer to a step while somebody's role is taken away; they have it again then."""
    running, held = board.running, threading.Event()

    async def take(session) -> None:
        by = {"actor": "test", "now": datetime.now(UTC)}
        await organisations.set_roles(session, board.people[who], [], **by)
        held.set()
        await anyio.sleep(0.5)  # By now the step has read who may take it, or waits.

    with ThreadPoolExecutor(1) as threads:
        taking = threads.submit(in_transaction, running.settings, take)
        assert held.wait(10)
        answer = step()
        taking.result()
    given = running.admin(
        "PUT", f"/people/{board.people[who]}/roles", json={"roles": [PEOPLE[who]]}
    )
    assert given.status_code == 200, given.text
    return answer


@pytest.mark.parametrize("who", ["ulla", "app"])
@pytest.mark.parametrize("step", ["approve", "release"])
def test_who_loses_a_role_at_this_moment_is_no_longer_one_of_two(running, board, step, who):
    opening = board.ask(asked(running).headers["x-request-id"])
    if step == "release":
        assert board.call("app", f"/{opening}/approve").status_code == 200
    by = "app" if step == "approve" else "ulla"
    answer = as_a_role_goes(board, who, lambda: board.call(by, f"/{opening}/{step}"))
    # An auditor who asked and is none any more is not handed out what another one agrees to.
    is_asked = (step, who) == ("approve", "ulla")
    assert answer.status_code == (200 if is_asked else 403), answer.text


@pytest.mark.parametrize("extra", [{}, {"stream": True}], ids=["whole", "stream"])
def test_they_open_byte_for_byte_as_they_were(running, board, private, log_key, extra):
    answer = asked(running, **extra)
    bundle = board.open(answer.headers["x-request-id"])
    opened = open_bundle(bundle, private, log_key)
    assert opened.request == answer.request.content
    assert opened.answer == answer.content
    assert SECRET_WORD not in bundle.model_dump_json()
    assert bundle.key.grants == (running.grants["researcher"],)


def test_nothing_of_them_is_readable_where_they_are_kept(running):
    asked(running)

    async def everything(session) -> str:
        parts = (await session.scalars(select(KeptContent))).all()
        keys = (await session.scalars(select(ContentKey))).all()
        log = (await session.scalars(select(AuditEntry.leaf))).all()
        return repr([vars(row) for row in (*parts, *keys)]) + repr(log)

    text = in_transaction(running.settings, everything)
    assert "ciphertext" in text
    assert SECRET_WORD not in text
    assert "Paris" not in text


def test_what_is_public_is_not_kept(running):
    answer = running.post("public", {**ASK, "model": "smollm2"})
    asked(running)

    async def kept(session) -> list[str]:
        return list(await session.scalars(select(KeptContent.request_id)))

    assert answer.headers["x-request-id"] not in in_transaction(running.settings, kept)


def test_it_takes_two_people_neither_the_caller_and_once(running, board):
    request_id = asked(running).headers["x-request-id"]
    for who in ("app", "ivy"):
        assert board.call(who, "", request_id=request_id, reason="r").status_code == 403
    none = board.call("ulla", "", request_id="req_" + "0" * 32, reason="r")
    assert none.status_code == 404
    opening = board.ask(request_id)
    assert board.call("ulla", f"/{opening}/release").status_code == 403
    assert board.call("ulla", f"/{opening}/approve").status_code == 403
    assert board.call("ivy", f"/{opening}/approve").status_code == 403
    assert board.call("otto", f"/{opening}/approve").status_code == 200
    assert board.call("app", f"/{opening}/approve").status_code == 409
    assert board.call("otto", f"/{opening}/release").status_code == 403
    assert board.call("ulla", f"/{opening}/release").status_code == 200
    assert board.call("ulla", f"/{opening}/release").status_code == 409
    found = running.admin("GET", f"/audit-events?subject={opening}").json()[::-1]
    assert [row["tag"] for row in found] == [
        f"contents:opening:{step}" for step in ("asked", "approved", "released")
    ]
    assert found[0]["detail"]["reason"] == "case 12"
    listed = running.admin("GET", "/contents/openings").json()[0]
    assert (listed["id"], listed["about"]) == (opening, running.people["researcher"])


def test_an_auditor_does_not_open_their_own(running, board):
    """The caller of the request, whatever duty they have."""
    researcher = running.people["researcher"]
    running.admin("PUT", f"/people/{researcher}/roles", json={"roles": ["auditor"]})
    key = running.admin("POST", "/keys", json={"person_id": researcher, "workflow": True})
    board.keys["ada"] = key.json()["key"]
    request_id = asked(running).headers["x-request-id"]
    assert board.call("ada", "", request_id=request_id, reason="r").status_code == 403
    opening = board.ask(request_id)
    assert board.call("ada", f"/{opening}/approve").status_code == 403
    running.admin("PUT", f"/people/{researcher}/roles", json={"roles": []})


def test_an_hour_later_they_are_not_handed_out(running, board):
    opening = board.ask(asked(running).headers["x-request-id"])
    assert board.call("app", f"/{opening}/approve").status_code == 200
    then = datetime.now(UTC) - timedelta(minutes=61)

    async def age(session) -> None:
        mine = update(ContentOpening).where(ContentOpening.id == opening)
        await session.execute(mine.values(approved_at=then))

    in_transaction(running.settings, age)
    assert board.call("ulla", f"/{opening}/release").status_code == 403


def tampered(bundle: Bundle, other: Bundle) -> dict[str, Bundle]:
    request, answer = bundle.parts
    flipped = request.model_copy(update={"ciphertext": to_text(b"x" * 40)})
    released = bundle.released.leaf.replace("case 12", "case 13")
    wrong = {
        "another's release": {"released": other.released},
        "another's intent": {"intent": other.intent},
        "another's outcome": {"outcome": other.outcome},
        "no outcome": {"outcome": None},
        "another's parts": {"parts": other.parts},
        "a part less": {"parts": (request,)},
        "no request": {"parts": (answer,)},
        "a part twice": {"parts": (request, request, answer)},
        "a part's bytes": {"parts": (flipped, answer)},
        "a part beyond ASCII": {"parts": (request.model_copy(update={"nonce": "é"}), answer)},
        "parts exchanged": {
            "parts": (
                request.model_copy(update={"part": "answer"}),
                answer.model_copy(update={"part": "request"}),
            )
        },
        "another key": {"key": bundle.key.model_copy(update={"id": "k"})},
        "another reason": {"released": bundle.released.model_copy(update={"leaf": released})},
        "another request": {"request_id": other.request_id},
        "the intent as release": {"released": bundle.intent},
        "another log": {"checkpoint": bundle.checkpoint.replace("\n", "\n1", 1)},
    }
    return {name: bundle.model_copy(update=update) for name, update in wrong.items()}


def is_refused(bundle: Bundle, private, log_key) -> bool:
    try:
        open_bundle(bundle, private, log_key)
    except AuditFileError:
        return True
    return False


def test_whatever_was_changed_is_refused(running, board, private, log_key):
    bundle, other = (board.open(asked(running).headers["x-request-id"]) for _ in range(2))
    open_bundle(bundle, private, log_key)
    for name, wrong in tampered(bundle, other).items():
        assert is_refused(wrong, private, log_key), name
    with pytest.raises(AuditFileError, match="does not open"):
        open_bundle(bundle, X25519PrivateKey.generate(), log_key)


WRONG_PEOPLE = {
    "who asked has agreed": lambda released, _: {"approved_by": released.actor},
    "the caller has agreed": lambda _, intent: {"approved_by": intent.actor},
    "nobody has agreed": lambda *_: {"approved_by": None, "about": None},
    "of another request": lambda *_: {"request": "req_other"},
}


@pytest.mark.parametrize("change", WRONG_PEOPLE.values(), ids=WRONG_PEOPLE)
def test_two_people_are_seen_to_even_where_the_log_has_signed_otherwise(
    running, board, private, tmp_path, change
):
    bundle = board.open(asked(running).headers["x-request-id"])
    signer = log_signer(running.settings, load_secret(running.settings))
    given = [bundle.released, bundle.intent, bundle.outcome]
    released, intent, outcome = (read_leaf(each.leaf.encode()).entry for each in given)
    wrong = replace(released, detail={**released.detail, **change(released, intent)})

    async def relog(session, entries) -> Bundle:
        first = await append(session, entries)
        note = await sign_head(session, signer, datetime.now(UTC))
        size = note.checkpoint.size
        proven = [
            ProvenEntry.of(await prove_inclusion(session, first + at, size)) for at in range(3)
        ]
        names = ("released", "intent", "outcome")
        parts = dict(zip(names, proven, strict=True))
        return bundle.model_copy(update={"checkpoint": note.text, **parts})

    def logged(*entries) -> Bundle:
        return in_transaction(Settings(home=tmp_path), lambda session: relog(session, entries))

    open_bundle(logged(released, intent, outcome), private, signer.verifier)
    assert is_refused(logged(wrong, intent, outcome), private, signer.verifier)


def test_a_prompt_that_somebody_put_into_the_database_is_refused(running, board, private, log_key):
    """Its key is the public one of the grants, and its place the real one."""
    request_id = asked(running).headers["x-request-id"]
    intent = entries(running, request_id, 2)[0]["detail"]
    forged = b'{"messages":[{"role":"user","content":"never asked"}]}'

    async def put(session) -> None:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        key = await session.get(ContentKey, intent["kept"]["key"])
        public = X25519PublicKey.from_public_bytes(key.public)
        place = Place(request_id, "request", key.id, intent["commitment"])
        sealed = seal(new_part_key(), place, forged, public)
        mine = (KeptContent.request_id == request_id) & (KeptContent.part == "request")
        await session.execute(update(KeptContent).where(mine).values(**sealed._asdict()))

    in_transaction(running.settings, put)
    with pytest.raises(AuditFileError, match="committed"):
        open_bundle(board.open(request_id), private, log_key)


def test_the_verbs_open_offline(running, board, log_key, tmp_path, capsys, monkeypatch):
    answer = asked(running)
    settings = running.settings
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(settings.secret_file))
    if settings.database_url:
        monkeypatch.setenv("AIRLOCK_DATABASE_URL", settings.database_url)
    for name in ("ulla", "app"):
        (tmp_path / name).write_text(board.keys[name])
    words = ["--home", str(settings.home), "contents"]
    ulla, app = (["--key-file", str(tmp_path / name)] for name in ("ulla", "app"))
    request_id, paper = answer.headers["x-request-id"], str(tmp_path / "sealed.json")
    assert main([*words, "ask", request_id, "--reason", "case 12\x1b[2J", *ulla, "--json"]) == 0
    opening = json.loads(capsys.readouterr().out)["id"]
    fetch = [*words, "fetch", opening, "--to", paper, *ulla]
    assert main(fetch) == 2
    assert main([*words, "approve", opening, *ulla]) == 2
    assert main([*words, "approve", opening, *app]) == 0
    assert main(fetch) == 0
    assert main([*words, "list"]) == 0
    monkeypatch.delenv("AIRLOCK_SECRET_FILE")
    capsys.readouterr()
    holder = str(settings.home / "holder.pem")
    offline = ["contents", "open", paper, "--private-key", holder, "--log-key", str(log_key)]
    assert main([*offline, "--to", str(tmp_path / "opened")]) == 0
    said = capsys.readouterr().out
    assert f"person:{board.people['app']}" in said
    assert "case 12\ufffd[2J" in said, "the reason is not obeyed"
    assert (tmp_path / "opened/request").read_bytes() == answer.request.content
    assert (tmp_path / "opened/answer").read_bytes() == answer.content
    (tmp_path / "sealed.json").write_text(
        (tmp_path / "sealed.json").read_text().replace(request_id, "req_" + "0" * 32)
    )
    assert main([*offline, "--to", str(tmp_path / "again")]) == 2
    assert not (tmp_path / "again").exists()
    assert main(["contents", "keygen", "--to", str(tmp_path / "new.pem")]) == 0
    assert capsys.readouterr().out.startswith("-----BEGIN PUBLIC KEY-----")


def forget_everything(running) -> list[str]:
    """Let the time of every key be over; return the keys."""

    async def expire(session) -> list[str]:
        await session.execute(update(ContentKey).values(expires_at=datetime.now(UTC)))
        return list(await session.scalars(select(ContentKey.id)))

    async def left(session):
        private = select(ContentKey.sealed_private, ContentKey.destroyed_at)
        keys = (await session.execute(private)).all()
        return keys, list(await session.scalars(select(KeptContent)))

    async def run() -> int:
        database = Database(running.settings)
        gone = [await forget(database, datetime.now(UTC)) for _ in range(2)]
        await database.close()
        assert gone[1] == 0
        return gone[0]

    ids = in_transaction(running.settings, expire)
    assert anyio.run(run) == len(ids) > 0
    keys, parts = in_transaction(running.settings, left)
    assert all(private is None and destroyed for private, destroyed in keys)
    assert parts == []
    return ids


def test_when_their_time_is_over_their_key_is_destroyed(running, board):
    opening = board.ask(asked(running).headers["x-request-id"])
    assert board.call("app", f"/{opening}/approve").status_code == 200

    ids = forget_everything(running)
    assert board.call("ulla", f"/{opening}/release").status_code == 404
    (entry,) = running.admin("GET", f"/audit-events?subject={ids[0]}").json()
    assert entry["tag"] == "contents:key:destroyed"
    assert entry["detail"]["grants"] == [running.grants["researcher"]]
    keeping_of(running)._keys.clear()


def test_what_a_gateway_wrote_when_the_key_was_destroyed_goes_too(running):
    request_id = asked(running).headers["x-request-id"]
    late = {"at": datetime.now(UTC), "nonce": b"n", "ciphertext": b"c", "sealed_key": b"k"}

    async def destroy(session) -> str:
        key_id = await session.scalar(
            select(KeptContent.key_id).where(KeptContent.request_id == request_id)
        )
        await destroy_key(session, key_id, actor="a", now=datetime.now(UTC))
        session.add(KeptContent(request_id="late", part="answer", key_id=key_id, **late))
        return key_id

    in_transaction(running.settings, destroy)
    with_database(running.settings, lambda database: forget(database, datetime.now(UTC)))

    async def there(session) -> KeptContent | None:
        return await session.get(KeptContent, ("late", "answer"))

    assert in_transaction(running.settings, there) is None
    keeping_of(running)._keys.clear()


class Down(Database):
    """A database that takes no contents."""

    @asynccontextmanager
    async def transaction(self):
        import traceback

        if any("keeping.py" in frame.filename for frame in traceback.extract_stack()):
            raise NotReadyError
        async with Database.transaction(self) as session:
            yield session


def refused(running) -> None:
    seen = len(running.engines["base"].bodies)
    answer = running.post("researcher", ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "contents_unavailable")
    assert answer.headers["x-should-retry"] == "true"
    assert len(running.engines["base"].bodies) == seen
    assert running.post("public", {**ASK, "model": "smollm2"}).status_code == 200


def test_without_a_place_to_keep_them_there_is_no_base(running):
    keeping = keeping_of(running)
    before = running.metric("airlock_contents_refused_total")
    asked(running)
    running.gateway.own_database.__class__ = Down
    try:
        # The key is in use already: this request is the first that cannot be written.
        assert running.post("researcher", ASK).status_code == 200
        wait_for(lambda: keeping._is_failing)
        refused(running)
        keeping._keys.clear()
        refused(running)
    finally:
        running.gateway.own_database.__class__ = Database
    assert running.metric("airlock_contents_refused_total") >= before + 2
    wait_for(lambda: running.post("researcher", ASK).status_code == 200)
    asked(running)
    wait_for(lambda: running.metric("airlock_contents_held_bytes") == 0)


def test_with_too_much_waiting_there_is_no_base(running):
    keeping = keeping_of(running)
    limit = running.settings.contents_max_waiting_bytes
    keeping.take(limit + 1)
    try:
        refused(running)
    finally:
        keeping.take(-limit - 1)
    asked(running)


def test_a_tier_has_its_members_contents_kept_and_no_other(request, tmp_path):
    """On the embedded database; without a holder's key, members of the tier have no base."""
    settings = make_settings(request, tmp_path, "sqlite")
    with run_gateway(settings, **with_holder(tmp_path)) as made:
        assert made.post("researcher", ASK).status_code == 200
        assert "kept" not in str(made.admin("GET", "/audit-events?tag=dataplane").json())
        made.change_tier("researcher", log_level="contents")
        made.wait_until_seen()
        answer = asked(made)
        bundle = Board(made).open(answer.headers["x-request-id"])
        holder = read_private(tmp_path / "holder.pem", None)
        assert open_bundle(bundle, holder, log_key_of(made)).answer == answer.content
        forget_everything(made)
        keeping = keeping_of(made)
        keeping._keys.clear()
        keeping._holder = None
        refused(made)


def test_a_receipt_holds_with_kept_contents(running, log_key):
    request_id = asked(running).headers["x-request-id"]
    headers = {"authorization": f"Bearer {running.keys['researcher']}"}
    got = httpx.get(f"{running.url}/v1/receipts/{request_id}", headers=headers)
    assert got.status_code == 200
    intent, end = entries(running, request_id, 2)
    assert set(intent["detail"]["kept"]) == {"key", "request"}
    assert set(end["detail"]["kept"]) == {"answer"}


def test_a_commitment_is_of_its_key(private):
    assert commit(b"a" * 32, "r", "request", b"x") != commit(b"b" * 32, "r", "request", b"x")
    assert private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


async def lose(session) -> None:
    """Do what a restore does to rows that are younger than the backup."""
    await session.execute(delete(KeptContent))
    await session.execute(delete(ContentKey))


def test_a_database_that_came_back_without_their_key_gets_it_again(request, tmp_path):
    settings = make_settings(request, tmp_path, "sqlite")
    with run_gateway(settings, **with_holder(tmp_path), keep_contents="base") as made:
        assert made.post("researcher", ASK).status_code == 200
        wait_for(lambda: made.metric("airlock_contents_kept_total") == 2)
        in_transaction(made.settings, lose)
        answer = asked(made)
        opened = open_bundle(
            Board(made).open(answer.headers["x-request-id"]),
            read_private(tmp_path / "holder.pem", None),
            log_key_of(made),
        )
        assert opened.answer == answer.content
        assert made.post("researcher", ASK).status_code == 200
