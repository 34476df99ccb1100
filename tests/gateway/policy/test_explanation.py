"""An explanation is the routing rule's own verdict, with its grounds."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.breakglass import Closures
from gateway.policy.explanation import KeyUsed, explain
from gateway.policy.grants import ALWAYS, NEVER, Basis, GrantTerms, Standing, live_domains
from gateway.policy.key_terms import KeyTerms
from gateway.policy.routing import Alias, Family, Routed, route
from tests.gateway.policy.test_grants import GRANTS, NOW, PUBLIC, RESEARCHER

DOMAINS = st.frozensets(st.sampled_from(["bio", "cyber"]))
STANDINGS = st.builds(
    Standing,
    tier=st.sampled_from([RESEARCHER, PUBLIC]),
    is_active=st.booleans(),
    organisation_active=st.booleans(),
    closures=st.builds(Closures, st.booleans(), DOMAINS),
)
FAMILIES = {
    "m": Family(
        "m",
        frozenset({"bio", "cyber"}),
        (
            Alias("base", "sha256:b", frozenset()),
            Alias("unlearned", "sha256:u", frozenset({"bio", "cyber"})),
            Alias("cyber", "sha256:c", frozenset({"bio"})),
        ),
    )
}
MODELS = st.sampled_from(["m", "m:base", "m:unlearned", "m:cyber", "m:no", "no"])
KEYS = st.builds(
    KeyUsed,
    st.just("k"),
    st.builds(KeyTerms, domains=st.none() | DOMAINS),
    st.sampled_from([None, NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)]),
)
GONE = st.sets(st.sampled_from(["m:base", "m:unlearned", "m:cyber"]))


@given(MODELS, GONE, STANDINGS, st.lists(GRANTS, max_size=4))
def test_the_verdict_is_the_rules_own(model, gone, standing, grants):
    said = explain(model, FAMILIES, dict.fromkeys(gone, "w"), "ada", standing, grants, NOW)
    routed = route(model, FAMILIES, live_domains(standing, tuple(grants), NOW))
    served = isinstance(routed, Routed) and standing.is_active and routed.name not in gone
    assert (said.effect == "allow") is served
    if served:
        assert isinstance(routed, Routed)
        assert said.served == routed.name
        hazards = FAMILIES["m"].hazards
        assert (said.rule == "forgets_every_hazard") is (routed.alias.forgets == hazards)
    assert len([ground for ground in said.grounds if ground.row.startswith("grant:")]) == len(
        grants
    )


@given(MODELS, STANDINGS, st.lists(GRANTS, max_size=4), KEYS)
def test_a_key_takes_what_it_is_narrowed_to_and_never_gives(model, standing, grants, key):
    said = explain(model, FAMILIES, {}, "ada", standing, grants, NOW, key)
    usable = key.terms.usable(tuple(grants))
    without = explain(model, FAMILIES, {}, "ada", standing, usable, NOW)
    if key.ends_at is not None and key.ends_at <= NOW:
        assert (said.effect, said.rule, said.served) == ("deny", "key_ended", None)
    else:
        assert (said.effect, said.rule, said.served, said.missing) == (
            without.effect,
            without.rule,
            without.served,
            without.missing,
        )
    (ground,) = [ground for ground in said.grounds if ground.row == "key:k"]
    assert ("only grants of" in ground.says) is (key.terms.domains is not None)


def test_a_suspended_grant_says_everything_that_suspends_it():
    hour = timedelta(hours=1)
    basis = Basis(NEVER, ALWAYS, datetime(2026, 1, 1, tzinfo=UTC))
    terms = GrantTerms("bio", NOW - hour, NOW + hour, None, "g", suspended=True, basis=basis)
    standing = Standing(RESEARCHER, is_active=True)
    said = explain("m:cyber", FAMILIES, {}, "ada", standing, [terms], NOW)
    (ground,) = [ground for ground in said.grounds if ground.row == "grant:g"]
    assert ground.says == (
        "bio: suspended, since somebody has suspended it and a verification has lapsed or is "
        "missing and the review of its use is overdue"
    )
    assert (said.rule, said.missing) == ("grant_required", ("cyber",))


def test_a_grant_that_has_not_begun_says_when_it_does():
    hour = timedelta(hours=1)
    terms = GrantTerms("bio", NOW + hour, NOW + 2 * hour, None, "g")
    said = explain("m", FAMILIES, {}, "ada", Standing(RESEARCHER, is_active=True), [terms], NOW)
    (ground,) = [each for each in said.grounds if each.row == "grant:g"]
    assert ground.says == f"bio: pending, begins at {(NOW + hour).isoformat()}"
