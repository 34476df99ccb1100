"""Receipts: who may have them, what they prove offline, and that no link can be exchanged."""

import json

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit.checkpoint import Checkpoint, Note, SignerKey
from gateway.audit.entry import Entry, make_leaf, read_leaf
from gateway.audit.log import Proven
from gateway.audit.log_key import log_signer
from gateway.audit.receipts import ProvenEntry, Receipt, read_receipt, verify_receipt
from gateway.audit.tree import leaf_hash, root_of
from gateway.cli import main
from gateway.errors import AuditFileError
from gateway.identity.secret import load_secret
from models.documents import read_document
from models.release import Release
from models.signing import peek, seal
from models.trust import TrustStore, trust_path
from tests.gateway.controlplane.workflow import Workflow
from tests.gateway.dataplane.test_audit import ASK, entries
from tests.models.trusting import ALICE, BOB


@pytest.fixture(scope="module")
def asked(running) -> str:
    """The id of a base request that has ended."""
    answer = running.post("researcher", ASK)
    assert answer.status_code == 200
    request_id = answer.headers["x-request-id"]
    entries(running, request_id, 2)
    return request_id


def get(running, request_id: str, key: str):
    return httpx.get(
        f"{running.url}/v1/receipts/{request_id}", headers={"authorization": f"Bearer {key}"}
    )


@pytest.fixture(scope="module")
def receipt(running, asked) -> Receipt:
    answer = get(running, asked, running.keys["researcher"])
    assert answer.status_code == 200, answer.text
    return read_receipt(answer.content)


@pytest.fixture(scope="module")
def signer(running):
    return log_signer(running.settings, load_secret(running.settings))


@pytest.fixture(scope="module")
def trust(running) -> TrustStore:
    return read_document(trust_path(running.settings.home), TrustStore)


def test_a_receipt_chains_grant_to_data_set(running, asked, receipt, signer, trust):
    facts = "\n".join(verify_receipt(receipt, signer.verifier, trust).facts)
    release = running.side_cars["base"].release
    public = running.side_cars["unlearned"].release
    report = running.store.get_report(public.verdict.report)
    for link in (
        f"person:{running.people['researcher']}",
        f"grant {running.grants['researcher']} for capitals, approved by test",
        f"checkpoint {release.checkpoint}",
        release.document_digest,
        f"gate verdict {public.verdict_digest}: PASS under policy {public.verdict.policy}",
        f"report {public.verdict.report} measured it as base",
        *(subset.dataset.digest for subset in report.subsets),
        "it ended with ok",
    ):
        assert link in facts


def test_who_may_have_a_receipt(running, asked):
    assert get(running, asked, running.admin_key).status_code == 200
    for key, request_id, status in (
        (running.keys["public"], asked, 404),
        (running.keys["researcher"], "req_none", 404),
        (running.admin_key, running.grants["researcher"], 404),
        ("airlock_key_no", asked, 401),
    ):
        answer = get(running, request_id, key)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] in ("not_found", "invalid_api_key")
    assert httpx.get(f"{running.url}/v1/receipts/{asked}").status_code == 401


@pytest.mark.parametrize("how", ["workflow", "emergency"])
def test_a_receipt_names_both_who_approved(fresh, how):
    workflow = Workflow(fresh)
    if how == "workflow":
        workflow.verify()
        workflow.to_grant()
    else:
        given = {"person_id": workflow.people["ada"], "domain": "capitals", "minutes": 5}
        opening = workflow.must("dan", "POST", "/openings", reason="r", **given)["id"]
        workflow.must("app", "POST", f"/openings/{opening}/confirm")
    fresh.wait_until_seen()
    answer = fresh.chat(fresh.keys["ada"], "smollm2:base")
    assert answer.status_code == 200
    found = get(fresh, answer.headers["x-request-id"], fresh.keys["ada"])
    assert found.status_code == 200, found.text
    log_key = log_signer(fresh.settings, load_secret(fresh.settings)).verifier
    keys = read_document(trust_path(fresh.settings.home), TrustStore)
    facts = "\n".join(verify_receipt(read_receipt(found.content), log_key, keys).facts)
    both = sorted(f"person:{workflow.people[name]}" for name in ("dan", "app"))
    assert any(f"approved by {', '.join(each)}," in facts for each in (both, both[::-1]))


def rewritten(receipt: Receipt, signer, change) -> Receipt:
    """Return a receipt of a log of its own whose intent says something else, signed by its key."""
    leaf = read_leaf(receipt.intent.leaf.encode())
    detail = json.loads(json.dumps(leaf.entry.detail))
    change(detail)
    entry = leaf.entry
    grants = [read_leaf(each.leaf.encode()).entry for each in receipt.grants]
    intent = Entry(entry.at, entry.actor, entry.tag, entry.subject, detail)
    bodies = [each.body for each in (*grants, intent)]
    leaves = [make_leaf(body, seq) for seq, body in enumerate(bodies)]
    hashes = [leaf_hash(each) for each in leaves]
    head = Checkpoint(signer.name, len(leaves), root_of(hashes))
    assert len(leaves) == 2
    proven = [
        ProvenEntry.of(Proven(seq, leaf, [hashes[1 - seq]])) for seq, leaf in enumerate(leaves)
    ]
    return receipt.model_copy(
        update={
            "checkpoint": Note(head, (signer.sign(head),)).text,
            "intent": proven[-1],
            "grants": tuple(proven[:-1]),
            "outcome": None,
        }
    )


WRONG_INTENTS = {
    "another checkpoint": (lambda d: d.update(checkpoint="sha256:" + "0" * 64), "checkpoint"),
    "another release": (lambda d: d.update(release="sha256:" + "0" * 64), "release"),
    "another policy": (lambda d: d.update(policy="sha256:" + "0" * 64), "policy"),
    "another tier": (lambda d: d["tier"].update(priority=9, name="x"), "policy"),
    "another domain": (lambda d: d["grants"][0].update(domain="other"), "domain"),
    "another approver": (lambda d: d["grants"][0].update(approved_by="x"), "approved by others"),
    "another grant": (lambda d: d["grants"][0].update(id="other"), "not in the receipt"),
    "no grants": (lambda d: d.update(grants=[]), "no grants"),
}


def test_a_rewritten_receipt_is_otherwise_good(receipt, signer, trust):
    verify_receipt(rewritten(receipt, signer, lambda _: None), signer.verifier, trust)


@pytest.mark.parametrize(("change", "reason"), WRONG_INTENTS.values(), ids=WRONG_INTENTS)
def test_a_link_that_does_not_fit_is_found_even_if_the_log_signed_it(
    receipt, signer, trust, change, reason
):
    with pytest.raises(AuditFileError, match=reason):
        verify_receipt(rewritten(receipt, signer, change), signer.verifier, trust)


def test_exchanged_parts_are_found(running, receipt, signer, trust):
    public = receipt.public_release
    wrong = {
        "proof": {"intent": receipt.intent.model_copy(update={"proof": ()})},
        "a proof beyond ASCII": {"intent": receipt.intent.model_copy(update={"proof": ("é",)})},
        "leaf": {
            "intent": receipt.intent.model_copy(
                update={"leaf": receipt.intent.leaf.replace("organisation", "organisatiom")}
            )
        },
        "request": {"request_id": "req_other"},
        "intent is the outcome": {"intent": receipt.outcome},
        "outcome is the intent": {"outcome": receipt.intent},
        "release": {"release": public},
        "no public release": {"public_release": None},
        "report": {"report": receipt.release},
        "checkpoint": {"checkpoint": receipt.checkpoint.replace("\n", "\n1", 1)},
        "no grants": {"grants": ()},
    }
    for update in wrong.values():
        with pytest.raises(AuditFileError):
            verify_receipt(receipt.model_copy(update=update), signer.verifier, trust)


@pytest.mark.parametrize("another", ["label", "family"])
def test_only_the_familys_public_release_stands_behind_another(receipt, signer, trust, another):
    """Two people sign what is for a few, too, and its verdict may rest on the same report."""
    public = peek(receipt.public_release.encode(), Release)

    def behind(release: Release) -> Receipt:
        sealed = seal(release, (ALICE, BOB)).decode()
        return receipt.model_copy(update={"public_release": sealed})

    verify_receipt(behind(public), signer.verifier, trust)
    with pytest.raises(AuditFileError, match="not the family's public one"):
        verify_receipt(behind(public.model_copy(update={another: "other"})), signer.verifier, trust)


def test_signatures_that_do_not_count_are_found(receipt, signer, trust):
    nobody = TrustStore(keys=())
    with pytest.raises(AuditFileError, match="signatures"):
        verify_receipt(receipt, signer.verifier, nobody)
    other = SignerKey(signer.name, signer.kind, Ed25519PrivateKey.from_private_bytes(b"o" * 32))
    with pytest.raises(AuditFileError, match="not signed by the log"):
        verify_receipt(receipt, other.verifier, trust)


def test_the_verbs_verify_receipt_and_export_offline(
    running, receipt, signer, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("AIRLOCK_SECRET_FILE", str(running.settings.secret_file))
    home = ["--home", str(running.settings.home), "audit"]
    assert main([*home, "key"]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == str(signer.verifier)
    key, paper = tmp_path / "log.pub", tmp_path / "receipt.json"
    key.write_text(printed)
    paper.write_text(receipt.model_dump_json())
    keys = str(trust_path(running.settings.home))
    words = ["audit", "verify-receipt", str(paper), "--key", str(key), "--trust", keys]
    assert main(words) == 0
    assert "data set" in capsys.readouterr().out
    odd = rewritten(receipt, signer, lambda said: said.update(organisation="Lab\x1b[2J"))
    paper.write_text(odd.model_dump_json())
    assert main(words) == 0
    assert "Lab\ufffd[2J" in capsys.readouterr().out, "names are not obeyed"
    paper.write_text(receipt.model_copy(update={"request_id": "x"}).model_dump_json())
    assert main(words) == 2
    assert "another request" in capsys.readouterr().err

    out = tmp_path / "audit.jsonl"
    assert main([*home, "export", "--to", str(out)]) == 0
    check = ["audit", "verify", str(out), "--key", str(key)]
    assert main(check) == 0
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[1:]))
    assert main(check) == 10
    out.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    assert main(check) == 12
    for form in ("csv", "ocsf"):
        assert main([*home, "export", "--format", form, "--to", str(out)]) == 0
        assert len(out.read_bytes().splitlines()) > 5
    assert main(["audit", "verify", str(tmp_path / "none"), "--key", str(key)]) == 2
