"""The page: complete, self-contained, escaped."""

from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace

from models.report import (
    AttackResult,
    ChatQuality,
    ChatScore,
    Dataset,
    Harness,
    ItemResult,
    LayerScore,
    Profile,
    Prompt,
    Report,
    Score,
    Subset,
)
from unlearn.evaluation.attack_plots import layer_plots, relearning_plots
from unlearn.evaluation.page import render

BASE, CANDIDATE = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NOW = datetime(2026, 1, 1, tzinfo=UTC)
VOID = {"meta", "br"}


class Checker(HTMLParser):
    """Checks that tags are balanced and nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        assert tag not in {"script", "link", "img", "iframe", "base"}, tag
        assert not {"src", "href", "onload", "onclick"} & {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in {"line", "rect", "circle"}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def items(n: int, correct: int) -> tuple[ItemResult, ...]:
    return tuple(
        ItemResult(id=f"{i:064x}", correct=i < correct, choice=i % 4, margin=1.0) for i in range(n)
    )


def subset(candidate: int = 89, **changes) -> Subset:
    given = {
        "name": "capitals",
        "kind": "hazard",
        "domain": "capitals",
        "chance": 0.25,
        "dataset": Dataset(name="builtin:x", revision=None, digest=BASE, n=314),
        "prompt": Prompt(digest=BASE, few_shot=0, rule="acc"),
        "base": items(314, 293),
        "candidate": items(314, candidate),
    }
    return Subset(**{**given, **changes})


def utility(candidate: int = 290) -> Subset:
    return subset(candidate, name="general", kind="utility", domain=None)


def report(*subsets: Subset, **changes) -> Report:
    given = {
        "family": "smollm2",
        "base": BASE,
        "candidate": CANDIDATE,
        "plan": None,
        "suite": "capitals",
        "harness": Harness(name="h", version="1", digest=BASE, clean=True, seed=0),
        "profile": Profile(engine="e", engine_version="1", dtype="bfloat16"),
        "subsets": subsets or (subset(), utility()),
        "started_at": NOW,
        "ended_at": NOW,
    }
    return Report(**{**given, **changes})


def verdict(outcome: str):
    """What the gate says, as far as the page shows it."""
    rules = [
        SimpleNamespace(rule=f"capitals.{name}", outcome=said, value=0.3, limit=0.4, reason="why")
        for name, said in (("control", "PASS"), ("accuracy", outcome), ("drop", "WAIVED"))
    ]
    forgets = ("capitals",) if outcome == "PASS" else ()
    return SimpleNamespace(outcome=outcome, rules=rules, forgets=forgets, policy="sha256:policy")


def made_report() -> Report:
    scores = tuple(
        ChatScore(question="0" * 64, category="writing", turn=turn, score=grade)
        for turn, grade in ((1, 8), (2, None))
    )
    return report(
        subset(),
        utility(),
        subset(name="capitals.shuffled", variant="shuffled", variant_of="capitals"),
        chat=ChatQuality(
            judge="<judge>", questions=BASE, prompts=BASE, base=scores, candidate=scores
        ),
    )


def text_of(page: str) -> str:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return " ".join(" ".join(checker.text).split())


def test_a_reviewer_finds_verdict_numbers_costs_breaks_and_provenance():
    made = made_report()
    said = verdict("PASS")
    page = render(made, said, ["f" * 64])
    text = text_of(page)
    for heading in ("What was measured", "How sure", "What it costs", "What breaks it"):
        assert heading in text
    assert "PASS Proven forgotten" in text
    assert "93.3 %" in text
    assert "28.3 % [23.4–33.7]" in text, "with its interval"
    assert "capitals: shuffled" in text
    for digest in (made.candidate, made.base, made.document_digest, "f" * 64):
        assert digest in page
    assert "<judge>" in text
    assert "<judge>" not in page
    assert page.count("<svg") == 1
    assert "http://" not in page
    assert "https://" not in page
    for rule in said.rules:
        assert rule.rule in text


def test_a_report_without_extras_says_what_it_does_not_show():
    made = report()
    text = text_of(render(made, verdict("FAIL"), []))
    assert "no format shift was measured" in text
    assert "No attack on the weights is in the store" in text
    assert "nobody" in text


def test_what_is_broken_comes_first():
    made = report(subset(200), utility())
    page = render(made, verdict("FAIL"), [])
    assert "FAIL" in text_of(page)
    assert "<details open>" in page


def score(k: int) -> Score:
    return Score(k=k, n=100, lower=0.1, upper=0.9)


def attack(name: str, after: int, **changes) -> AttackResult:
    given = {
        "attack": name,
        "domain": "capitals",
        "setting": {"seed": 0, "prompts_digest": BASE},
        "candidate_before": score(25),
        "candidate_after": score(after),
        "base_before": score(95),
        "base_after": score(94),
        "recovered": (after - 25) / 70,
        "seconds": 3,
    }
    return AttackResult(**{**given, **changes})


ATTACKS = (
    attack("relearn-benign-10", 30),
    attack("relearn-benign-100", 40),
    attack("relearn-forget-10", 60),
    attack("relearn-forget-100", 88),
    attack(
        "linear-probe",
        50,
        layers=tuple(LayerScore(layer=n, base=20 * n, candidate=10 * n) for n in range(4)),
        found={"base": {"layer": 3}, "candidate": {"layer": 2}},
    ),
)


def test_attacks_are_drawn_with_their_control_the_strongest_first():
    page = render(report(), verdict("PASS"), [], ATTACKS)
    text = text_of(page)
    assert page.count("<svg") == 4, "accuracies, attacks, relearning, layers"
    strongest = sorted(ATTACKS, key=lambda one: -one.recovered)
    places = [page.index(f">{one.attack}</text>") for one in strongest]
    assert places == sorted(places)
    assert "90 %" in text
    assert "25.0 % → 88.0 %" in text
    assert "solid: hazard text, dashed: benign text" in text
    assert page.count("the layer that counts") == 2
    assert "capitals: 93.3 %" in text


def test_rows_of_several_domains_name_theirs():
    lakes, rivers = (
        tuple(one.model_copy(update={"domain": domain}) for one in ATTACKS)
        for domain in ("lakes", "rivers")
    )
    page = render(report(), verdict("PASS"), [], (*lakes, *rivers))
    for domain in ("lakes", "rivers"):
        assert page.count(f">{domain}</text>") == len(ATTACKS)
    assert ">lakes</text>" not in render(report(), verdict("PASS"), [], lakes)


def test_a_report_of_attacks_is_about_them_alone():
    made = report(subset(), suite="depth", attacks=ATTACKS)
    text = text_of(render(made, verdict("PASS"), [], made.attacks))
    assert "What breaks it Each attack was run on the candidate" in text
    assert "It opens no door by itself" in text
    assert "What it costs" not in text
    assert "No attack on the weights" not in text
    alone = text_of(render(report(suite="depth"), verdict("PASS"), []))
    assert "No attack is in this report" in alone


def test_lines_go_through_the_points_before_and_after():
    (plot,) = relearning_plots(ATTACKS)
    lines = {line.label: line for line in plot.lines}
    assert lines["candidate, forget"].points == ((0.0, 0.25), (0.5, 0.6), (1.0, 0.88))
    assert lines["base, benign"].points == ((0.0, 0.95), (0.5, 0.94), (1.0, 0.94))
    assert [line.is_dashed for line in plot.lines] == [True, True, False, False]
    assert plot.ticks == ((0.0, "0"), (0.5, "10"), (1.0, "100"))
    (layers,) = layer_plots(ATTACKS)
    assert layers.lines[1].points == ((0.0, 0.0), (1 / 3, 0.1), (2 / 3, 0.2), (1.0, 0.3))
    assert [line.marked for line in layers.lines] == [3, 2]
