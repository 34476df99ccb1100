"""The page: complete, self-contained, escaped."""

from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace

from models.report import (
    ChatQuality,
    ChatScore,
    Dataset,
    Harness,
    ItemResult,
    Profile,
    Prompt,
    Report,
    Subset,
)
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
        assert tag in {"line", "rect"}

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
