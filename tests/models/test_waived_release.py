"""A release that rests on waivers: promoted, listed with them, and only while they last."""

from datetime import timedelta

import pytest

from gateway.cli import main
from models.errors import PromotionRefusedError
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
    with pytest.raises(PromotionRefusedError, match="chem"):
        release(NOW + timedelta(days=31))
