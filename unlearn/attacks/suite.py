"""The attack suite: every attack of a depth on base and candidate, domain by domain."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import JsonValue

from models.attacks import Attack, Setting
from models.depth import Key
from models.documents import Digest, digest_of
from models.intervals import binomial_lower_bound, binomial_upper_bound
from models.report import AttackResult, LayerScore, Score
from models.store import CheckpointStore
from unlearn.attacks.ablation import ablate
from unlearn.attacks.domain import Domain, Order
from unlearn.attacks.kept import Kept, KeptOutcomes
from unlearn.attacks.lens import read_lens
from unlearn.attacks.prefix import find_prefix
from unlearn.attacks.probe import probe
from unlearn.attacks.quantise import quantise
from unlearn.attacks.relearn import relearn
from unlearn.attacks.shots import show_examples
from unlearn.attacks.subject import Outcome, Subject
from unlearn.evaluation.harness import harness_version
from unlearn.evaluation.measure import Plain
from unlearn.evaluation.runs import Run

OnAttack = Callable[[str, int], None]
"""Told which attack begins, and how many are finished."""

KINDS: dict[str, Callable[[Subject, Domain, Setting], Outcome]] = {
    "probe": probe,
    "lens": read_lens,
    "ablation": ablate,
    "few-shot": show_examples,
    "quantise": quantise,
    "relearn": relearn,
    "prefix": find_prefix,
}
CONFIDENCE = 0.95


def run_attacks(
    store: CheckpointStore,
    run: Run,
    order: Order,
    plain: Mapping[Digest, Plain],
    cache: Path,
    on_attack: OnAttack,
) -> tuple[AttackResult, ...]:
    """Return the result of every attack; each is kept as soon as it is finished.

    Args:
        store: Where the checkpoints are.
        run: Base and candidate.
        order: What is to be done.
        plain: Both checkpoints' answers without any attack.
        cache: Where finished attacks are kept.
        on_attack: Told of the progress.
    """
    results: list[AttackResult] = []
    for domain in order.domains:
        for attack in order.attacks:
            done: list[Kept] = []
            for role, digest in zip(("base", "candidate"), run.checkpoints, strict=True):
                on_attack(f"{attack.name} on the {role}", 2 * len(results) + len(done))
                answers = plain[digest][domain.task.name]
                path, base, candidate = map(store.path, (digest, *run.checkpoints))
                subject = Subject(path, base, candidate, cache, answers)
                kept = KeptOutcomes(cache, digest)
                done.append(_attack(attack, domain, subject, run, kept))
            results.append(_result(attack, domain, *done))
    on_attack("done", 2 * len(results))
    return tuple(results)


def keys_of(order: Order) -> list[Key]:
    """Return what identifies each result of an order, in order."""
    return [
        (attack.name, str(domain.task.domain), digest_of(setting_of(attack, domain)))
        for domain in order.domains
        for attack in order.attacks
    ]


def setting_of(attack: Attack, domain: Domain) -> Setting:
    """Return what a report says that an attack was given: only equal ones compare."""
    texts = {"forget": domain.forget.digest, "retain": domain.retain.digest}
    return {
        **attack.setting,
        **({"texts_digest": texts[attack.reads]} if attack.reads else {}),
        "prompts_digest": domain.task.prompt_digest,
    }


def _attack(attack: Attack, domain: Domain, subject: Subject, run: Run, kept: KeptOutcomes) -> Kept:
    """Return an attack's outcome on one checkpoint: the kept one, or a new one."""
    facts: dict[str, JsonValue] = {
        "attack": attack.name,
        "setting": setting_of(attack, domain),
        "candidate": run.candidate if attack.is_relative else None,
        "layers": list(domain.layers) if attack.is_relative else None,
        "profile": run.profile.model_dump(mode="json"),
        "harness": harness_version(),
    }
    known = kept.get(facts)
    if known is not None:
        return known
    started = time.monotonic()
    outcome = KINDS[attack.kind](subject, domain, attack.setting)
    done = Kept(outcome, round(time.monotonic() - started, 2))
    kept.add(facts, done)
    return done


def _result(attack: Attack, domain: Domain, base: Kept, candidate: Kept) -> AttackResult:
    before, after = candidate.outcome.before, candidate.outcome.after
    gap = base.outcome.before - before
    return AttackResult(
        attack=attack.name,
        domain=str(domain.task.domain),
        setting=setting_of(attack, domain),
        candidate_before=_score(before, candidate.outcome.n),
        candidate_after=_score(after, candidate.outcome.n),
        base_before=_score(base.outcome.before, base.outcome.n),
        base_after=_score(base.outcome.after, base.outcome.n),
        recovered=(after - before) / gap if gap > 0 else 0.0,
        layers=tuple(
            LayerScore(layer=layer, base=one, candidate=other)
            for layer, (one, other) in enumerate(
                zip(base.outcome.layers, candidate.outcome.layers, strict=True)
            )
        ),
        found={"base": base.outcome.found, "candidate": candidate.outcome.found},
        seconds=base.seconds + candidate.seconds,
    )


def _score(k: int, n: int) -> Score:
    lower, upper = (
        bound(k, n, CONFIDENCE) for bound in (binomial_lower_bound, binomial_upper_bound)
    )
    return Score(k=k, n=n, lower=lower, upper=upper)
