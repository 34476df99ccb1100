"""A release that rests on waivers: promoted, listed with them, and only while they last."""

from datetime import timedelta

import pytest
from rich.console import Console

from gateway.cli import main
from models.cli.gate import print_verdict
from models.documents import write_bytes
from models.errors import PromotionRefusedError
from models.release import release_path
from models.signing import seal
from models.store import CheckpointStore
from models.waiver import write_waiver
from tests.models.checkpoints import NOW, WALT, WANDA, put_base, put_candidate, put_report
from tests.models.test_gate import BOTH, CHEM, never_unlearned
from tests.models.trusting import point

HAZARDS = ("capitals", "chem")


def test_a_waived_domain_is_listed_with_the_checkpoint(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    store = CheckpointStore(tmp_path / "store")
    base = put_base(store, b"base", hazards=HAZARDS).digest
    candidate = put_candidate(store, base, b"unlearned", hazards=HAZARDS).digest
    put_report(store, never_unlearned(), base, candidate, policy=CHEM)

    def release(now=NOW):
        return point(store, candidate, policy=CHEM, now=now)

    with pytest.raises(PromotionRefusedError, match=r"chem\.accuracy"):
        release()
    for waiver in BOTH:
        write_waiver(store, waiver, [WALT, WANDA])
    made = release()
    assert made.expires_at <= min(waiver.expires_at for waiver in BOTH)
    assert (made.forgets, made.cleared) == (("capitals",), HAZARDS)
    assert {item.rule for item in made.waived} == {"chem.accuracy", "chem.gap_closed"}
    assert main(["--home", str(tmp_path), "checkpoints", "list"]) == 0
    assert "chem.accuracy" in capsys.readouterr().out
    # Of a release whose signatures count for nothing, what it says is listed all the same.
    odd = tuple(item.model_copy(update={"rule": "[/x]\x1b[2J"}) for item in made.waived)
    verdict = made.verdict.model_copy(update={"waived": odd})
    given = {"verdict": verdict, "verdict_digest": verdict.document_digest, "waived": odd}
    path = release_path(store, made.family, made.label, made.version)
    write_bytes(path, seal(made.model_copy(update=given), [WALT]))
    assert main(["--home", str(tmp_path), "checkpoints", "list"]) == 0
    assert "[/x]\ufffd[2J until" in capsys.readouterr().out
    reason = verdict.rules[0].model_copy(update={"reason": "[/x]\x1b[2J"})
    print_verdict(Console(), made.verdict.model_copy(update={"rules": (reason,)}))
    assert "[/x]\ufffd[2J" in capsys.readouterr().out
    with pytest.raises(PromotionRefusedError, match="chem"):
        release(NOW + timedelta(days=31))
