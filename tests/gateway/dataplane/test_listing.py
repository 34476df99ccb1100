"""`GET /v1/models`: what a caller may ask for at a moment, and nothing else."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gateway.dataplane.catalogue import Catalogue, _max_model_lens
from gateway.dataplane.listing import answer_for, list_models
from gateway.errors import UnknownModelError
from gateway.policy.routing import Alias, Family

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BASE, UNLEARNED = "smollm2:base", "smollm2:unlearned"


def names(grants: frozenset[str] = frozenset({"capitals"}), **changes) -> list[str]:
    aliases = (
        Alias("base", "sha256:1", frozenset()),
        Alias("unlearned", "sha256:2", frozenset({"capitals"})),
    )
    given = {
        "families": {"smollm2": Family("smollm2", frozenset({"capitals"}), aliases)},
        "promoted_at": dict.fromkeys((BASE, UNLEARNED), NOW),
        "engines": (),
        "expires_at": dict.fromkeys((BASE, UNLEARNED), NOW + timedelta(days=1)),
        "withdrawn": {},
        "pointers": {},
        "max_model_lens": {},
        "sighted": frozenset(),
    }
    return [str(entry["id"]) for entry in list_models(Catalogue(**given | changes), grants, NOW)]


def test_names_are_those_that_grants_cover():
    assert names() == ["smollm2", BASE, UNLEARNED]
    assert names(frozenset()) == ["smollm2", UNLEARNED]


def test_what_is_withdrawn_or_over_is_not_listed_and_nothing_steps_in():
    for gone in ({"withdrawn": {BASE: "revoked"}}, {"expires_at": {UNLEARNED: NOW + timedelta(1)}}):
        assert names(**gone) == [UNLEARNED], "the family's own name leads to the base"
        assert names(frozenset(), **gone) == ["smollm2", UNLEARNED]
    assert names(expires_at={BASE: NOW, UNLEARNED: NOW}) == []


@pytest.mark.parametrize("path", ["/v1/models/smollm2:bas", "/v1/models/smollm2/", "/v1/models//"])
def test_only_whole_names_are_found(path):
    with pytest.raises(UnknownModelError):
        answer_for(path, [{"id": "smollm2"}, {"id": BASE}])


def test_a_checkpoint_is_as_long_as_the_shortest_of_its_engines():
    def promoted(length, withdrawn_at=None):
        profile = {"flags": [f"--max-model-len={length}"]}
        return SimpleNamespace(checkpoint="c", profile=profile, withdrawn_at=withdrawn_at)

    rows = [promoted(2048), promoted(1024), promoted(4096), promoted(512, withdrawn_at=1)]
    assert _max_model_lens(rows) == {"c": 1024}
