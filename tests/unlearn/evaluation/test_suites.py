"""Suites: the harness's own tasks on pinned rows, from a local hub or local files."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from unittest.mock import Mock

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.errors import GatedRepoError

from unlearn.errors import DownloadError, SuiteError
from unlearn.evaluation import hub
from unlearn.evaluation.harness import own_task, own_tasks
from unlearn.evaluation.items import LETTERS, item_id
from unlearn.evaluation.suites import (
    MMLU_REVISION,
    ROBUST_CONFIGS,
    WMDP_REVISION,
    load_suite,
    suite_name,
)
from unlearn.evaluation.variants import VARIANTS, parse_variants, vary

MAIN = "a" * 40


def rows(about: str, count: int = 4) -> list[dict]:
    """Harmless rows of WMDP's shape, with a further column."""
    return [
        {
            "question": f"Which one is {about} {index}? ",
            "choices": [f"{about} {other}" for other in range(index, index + 4)],
            "answer": index % 4,
            "subject": about,
        }
        for index in range(count)
    ]


def parquet(content: list[dict]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(content), buffer)
    return buffer.getvalue()


def layouts() -> dict[tuple[str, str], dict[str, bytes]]:
    """The files of each data set at each commit, named as in the real repositories."""
    name = "test-00000-of-00001.parquet"
    wmdp = {
        f"wmdp-{domain}/{name}": parquet(rows(domain, 6)) for domain in ("bio", "cyber", "chem")
    }
    subjects = [own_task(task).config for task in own_tasks("mmlu_")]
    mmlu = {f"{subject}/{name}": parquet(rows(subject)) for subject in subjects}
    mmlu |= {
        f"{subject}/dev-00000-of-00001.parquet": parquet(rows(f"dev {subject}", 5))
        for subject in subjects
    }
    robust = {
        f"{part}/robust-00000-of-00001.parquet": parquet(rows(part, 2)) for part in ROBUST_CONFIGS
    }
    cloze = {"data/cloze_compatible-00000-of-00001.parquet": parquet(rows("bread", 3))}
    return {
        ("cais/wmdp", WMDP_REVISION): wmdp,
        ("cais/mmlu", MMLU_REVISION): mmlu,
        ("EleutherAI/wmdp_bio_robust_mcqa", MAIN): robust,
        ("EleutherAI/wmdp_bio_cloze", MAIN): cloze,
    }


@dataclass
class Hub:
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=layouts)
    asked: list[str] = field(default_factory=list)
    head: str = MAIN
    """What the branch is at."""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(path)
        words = path.split("?")[0].strip("/").split("/")
        if words[:2] == ["api", "datasets"]:
            repo, commit = "/".join(words[2:4]), words[5]
            commit = self.head if commit == "main" else commit
            names = self.files.get((repo, commit))
            if names is None:
                return 404, {"x-error-code": "RevisionNotFound"}, b""
            siblings = [{"rfilename": name} for name in names]
            return 200, {}, json.dumps({"id": repo, "sha": commit, "siblings": siblings}).encode()
        repo, commit, name = "/".join(words[1:3]), words[4], "/".join(words[5:])
        content = self.files[repo, commit][name]
        return 200, {"x-repo-commit": commit, "etag": f'"{hash(content):x}"'}, content


@pytest.fixture
def fake_hub(monkeypatch) -> Iterator[Hub]:
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = found.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(hub, "HfApi", lambda: RealApi(endpoint=url))
    monkeypatch.setattr(
        hub, "hf_hub_download", lambda *words, **given: real_download(*words, **given, endpoint=url)
    )
    yield found
    server.shutdown()
    server.server_close()


RealApi, real_download = hub.HfApi, hub.hf_hub_download


def test_wmdp_is_the_harnesses_own_tasks_at_the_pinned_commit(fake_hub, tmp_path):
    tasks = load_suite("wmdp", tmp_path)
    assert [task.name for task in tasks] == [
        "wmdp_bio",
        "wmdp_cyber",
        "wmdp_chem",
        "canary-letters",
    ]
    assert [task.domain for task in tasks] == ["bio", "cyber", "chem", None]
    bio = tasks[0]
    assert bio.dataset.revision == WMDP_REVISION
    assert bio.dataset.name == "hub:cais/wmdp/wmdp-bio/test"
    assert bio.dataset.n == 6
    assert bio.definition["doc_to_choice"] == list(LETTERS)
    assert bio.definition == own_task("wmdp_bio").definition
    assert bio.items[0] == {k: rows("bio")[0][k] for k in ("question", "choices", "answer")}
    asked = len(fake_hub.asked)
    assert load_suite("wmdp", tmp_path) == tasks
    assert len(fake_hub.asked) == asked, "a pinned commit is read from the cache"


def test_other_rows_are_another_digest(fake_hub, tmp_path):
    before = load_suite("wmdp", tmp_path / "a")[0]
    name = "wmdp-bio/test-00000-of-00001.parquet"
    changed = rows("bio", 6)
    changed[0]["answer"] = 3
    fake_hub.files["cais/wmdp", WMDP_REVISION][name] = parquet(changed)
    after = load_suite("wmdp", tmp_path / "b")[0]
    assert before.dataset.digest != after.dataset.digest


def test_mmlu_shows_every_subject_with_its_own_examples(fake_hub, tmp_path):
    tasks = load_suite("mmlu", tmp_path)
    names = {task.name for task in tasks}
    assert len(tasks) == 57 + 1
    assert names >= {f"mmlu_{s}" for s in ("college_biology", "virology", "computer_security")}
    assert {task.kind for task in tasks} == {"utility", "canary"}
    virology = next(task for task in tasks if task.name == "mmlu_virology")
    assert len(virology.examples) == 5
    assert virology.few_shot == 0


def test_robust_and_cloze_are_variants_of_bio(fake_hub, tmp_path):
    tasks = load_suite("wmdp+wmdp-robust+wmdp-cloze", tmp_path)
    robust = next(task for task in tasks if task.variant == "robust")
    cloze = next(task for task in tasks if task.variant == "cloze")
    assert len(robust.items) == 2 * len(ROBUST_CONFIGS)
    assert robust.definition == {"num_fewshot": 0, **own_task("wmdp_bio").definition}
    assert (cloze.metric, cloze.is_lettered, robust.is_lettered) == ("acc_norm", False, True)
    assert {robust.variant_of, cloze.variant_of} == {"wmdp_bio"}
    assert {robust.origin.revision, cloze.origin.revision} == {MAIN}
    assert {task.name for task in tasks if task.kind == "canary"} == {"canary", "canary-letters"}


def test_every_part_of_a_set_is_of_one_commit(fake_hub, tmp_path, monkeypatch):
    """The branch moves while the parts are read one after the other."""
    repo, later, read = "EleutherAI/wmdp_bio_robust_mcqa", "e" * 40, hub.read_hub_items
    fake_hub.files[repo, later] = {
        name: parquet(rows("moved", 2)) for name in fake_hub.files[repo, MAIN]
    }

    def read_and_move(*words):
        found = read(*words)
        fake_hub.head = later
        return found

    monkeypatch.setattr(hub, "read_hub_items", read_and_move)
    robust = load_suite("wmdp-robust", tmp_path)[0]
    assert robust.origin.revision == MAIN
    assert not any("moved" in item["question"] for item in robust.items)


def test_all_variants_go_with_a_cloze_set_of_its_own(fake_hub, tmp_path):
    tasks = load_suite("wmdp+wmdp-cloze", tmp_path, VARIANTS)
    found = [task for task in tasks if task.variant == "cloze"]
    assert [task.name for task in found] == [
        "wmdp_bio.cloze",
        "wmdp_cyber.cloze",
        "wmdp_chem.cloze",
    ]
    assert [task.origin.revision for task in found] == [MAIN, WMDP_REVISION, WMDP_REVISION]


def test_without_hub_and_cache_it_says_so(fake_hub, tmp_path):
    fake_hub.files.clear()
    with pytest.raises((SuiteError, DownloadError), match="cais/wmdp"):
        load_suite("wmdp", tmp_path)


def write_rows(path: Path, content: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def test_a_local_file_named_for_a_task_is_that_task(tmp_path):
    path = write_rows(tmp_path / "wmdp-bio.jsonl", rows("bio"))
    bio, canary = load_suite(f"file:{path}")
    assert (bio.name, bio.domain, bio.kind) == ("wmdp_bio", "bio", "hazard")
    assert bio.definition == {"num_fewshot": 0, **own_task("wmdp_bio").definition}
    assert bio.dataset.name == "file:wmdp-bio.jsonl", "no path of this machine"
    assert canary.name == "canary-letters"
    (tmp_path / "mmlu_virology.parquet").write_bytes(parquet(rows("virology")))
    assert load_suite(f"file:{tmp_path}/mmlu_virology.parquet")[0].kind == "utility"
    own, _ = load_suite(f"file:{write_rows(tmp_path / 'kitchen.jsonl', rows('bread'))}")
    assert (own.name, own.domain, own.is_lettered) == ("kitchen", "kitchen", True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "no rows"),
        ("{", "cannot be read"),
        ("[1]\n", "row 1"),
        ('{"question": "x", "choices": ["a", "b", "c"], "answer": 0}\n', "four choices"),
        ('{"question": "x", "choices": ["a", "b", "c", 4], "answer": 0}\n', "text"),
        ('{"question": "x", "choices": "ABCD", "answer": 0}\n', "four choices"),
        ('{"question": "x", "choices": ["a", "b", "c", "d"], "answer": 4}\n', "0 to 3"),
        ('{"question": "x", "choices": ["a", "b", "c", "d"], "answer": true}\n', "0 to 3"),
        ('{"question": "\\ud800", "choices": ["a", "b", "c", "d"], "answer": 0}\n', "half a sign"),
    ],
)
def test_rows_of_another_shape_are_refused(tmp_path, content, problem):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(SuiteError, match=problem):
        load_suite(f"file:{path}")


def test_examples_need_other_items(tmp_path):
    path = write_rows(tmp_path / "kitchen.jsonl", [*rows("bread", 5), *rows("bread", 5)])
    assert load_suite(f"file:{path}")
    with pytest.raises(SuiteError, match="need 6 different items, and there are 5"):
        load_suite(f"file:{path}", variants=("few-shot",))
    path = write_rows(tmp_path / "kitchen.jsonl", rows("bread", 9))
    assert load_suite(f"file:{path}", variants=("few-shot",), limit=6)
    with pytest.raises(SuiteError, match="and there are 4"):
        load_suite(f"file:{path}", variants=("few-shot",), limit=4)


def test_a_choice_that_is_asked_by_its_text_has_some(tmp_path):
    content = [*rows("bread", 5), {**rows("tea", 1)[0], "choices": ["", "a", "b", "c"]}]
    path = write_rows(tmp_path / "kitchen.jsonl", content)
    assert load_suite(f"file:{path}", variants=("few-shot",))
    with pytest.raises(SuiteError, match=r"kitchen\.cloze.*one of them is empty"):
        load_suite(f"file:{path}", variants=("cloze",))


@pytest.mark.parametrize("error", [httpx2.ReadTimeout(""), OSError()])
def test_an_error_without_words_is_named(monkeypatch, tmp_path, error):
    monkeypatch.setattr(hub, "HfApi", Mock(side_effect=error))
    with pytest.raises(DownloadError, match=type(error).__name__):
        load_suite("wmdp", tmp_path)


@pytest.mark.parametrize("name", ["nothing", "capitals+capitals", "file:/no/such.jsonl", "wmdp"])
def test_what_is_no_suite_is_refused(name):
    with pytest.raises(SuiteError):
        load_suite(name)


def test_names_of_suites_are_safe_in_a_report(tmp_path):
    assert suite_name("wmdp+wmdp-robust+mmlu") == "wmdp.wmdp-robust.mmlu"
    assert suite_name("file:/data/Rows.jsonl") == "rows.jsonl"


@pytest.mark.parametrize(
    "file", ["My Set.jsonl", "ä.jsonl", "-x.jsonl", ".jsonl", f"{'x' * 60}.jsonl"]
)
def test_a_file_whose_name_no_report_could_carry_is_refused_before_it_is_asked(tmp_path, file):
    path = write_rows(tmp_path / file, rows("bio", 3))
    with pytest.raises(SuiteError, match="rename the file"):
        load_suite(f"file:{path}", variants=VARIANTS)


def test_variants_keep_the_items_and_change_the_prompt(tmp_path):
    path = write_rows(tmp_path / "wmdp-bio.jsonl", rows("bio", 30))
    plain, *varied, _, _ = load_suite(f"file:{path}", variants=VARIANTS)
    assert [task.variant for task in varied] == list(VARIANTS)[: len(varied)]
    shuffled = next(task for task in varied if task.variant == "shuffled")
    assert shuffled.ids == plain.ids
    for before, after in zip(plain.items, shuffled.items, strict=True):
        assert before["choices"] != after["choices"]
        assert sorted(before["choices"]) == sorted(after["choices"])
        assert before["choices"][before["answer"]] == after["choices"][after["answer"]]
        assert item_id(before) != item_id(after)
    positions = [item["answer"] for item in shuffled.items]
    assert min(positions.count(place) for place in range(4)) > 0


def test_variants_that_do_not_apply_are_left_out():
    hazard = load_suite("capitals")[0]
    made = [variant for variant in VARIANTS if vary(hazard, variant)]
    assert made == ["few-shot", "paraphrase", "chat-template"]


def test_variants_are_named(tmp_path):
    assert parse_variants("all") == VARIANTS
    assert parse_variants("shuffled, few-shot") == ("few-shot", "shuffled")
    assert parse_variants("") == ()
    with pytest.raises(SuiteError, match="chat-template"):
        parse_variants("robust")


def test_a_limit_takes_the_first_items():
    tasks = load_suite("capitals", limit=3)
    assert {len(task.items) for task in tasks} == {3}
    assert {task.dataset.n for task in tasks} == {3}


def test_a_gated_suite_says_where_access_is_asked_for(tmp_path, monkeypatch):
    refused = httpx2.Response(403, request=httpx2.Request("GET", "https://hub.example"))
    error = GatedRepoError("Access is restricted", response=refused)
    monkeypatch.setattr(hub, "HfApi", Mock(side_effect=error))
    with pytest.raises(SuiteError, match="/datasets/cais/wmdp, then set HF_TOKEN"):
        load_suite("wmdp", tmp_path)
