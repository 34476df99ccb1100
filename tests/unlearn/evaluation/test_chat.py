"""Conversations, graded by a judge that is asked over HTTP."""

import pytest

from unlearn.errors import EndpointError
from unlearn.evaluation.chat import measure_chat, read_questions
from unlearn.evaluation.endpoint import Endpoint

QUESTIONS = read_questions()


def says(text: str):
    return 200, {"choices": [{"message": {"content": text}}]}


def test_the_questions_are_ours_in_eight_categories():
    assert len(QUESTIONS) >= 16
    assert len({question.category for question in QUESTIONS}) == 8
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS)
    assert all(len(question.turns) == 2 for question in QUESTIONS)


def test_every_answer_is_graded_with_the_conversation_before_it(serve):
    base = serve(lambda path, body: says(f"base answer {len(body['messages'])}"))
    candidate = serve(lambda path, body: says("candidate answer [[1]]"))

    def grade(path, body):
        shown = body["messages"][-1]["content"]
        if "candidate answer" in shown:
            return says("It quotes [[1]]. The grade is [[3]]")
        return says("No grade." if "base answer 3" in shown else "Good. [[10]]")

    judge = serve(grade)
    found = measure_chat(
        Endpoint(base.url, "b", "kb"),
        Endpoint(candidate.url, "c", "kc"),
        Endpoint(f"{judge.url}/v1", "the-judge", "kj"),
        QUESTIONS[:2],
    )
    assert [one.score for one in found.base] == [10, None, 10, None]
    assert [one.score for one in found.candidate] == [3, 3, 3, 3], "the last grade counts"
    assert [(one.turn, one.category) for one in found.base[:2]] == [(1, "writing"), (2, "writing")]
    assert found.judge == "the-judge"
    assert {path for path, _ in judge.asked} == {"/v1/chat/completions"}
    assert {path for path, _ in base.asked} == {"/v1/chat/completions"}
    assert judge.keys == {"Bearer kj"}
    assert all(body["temperature"] == 0 for _, body in (*judge.asked, *base.asked))
    second = [body for _, body in base.asked if len(body["messages"]) == 3]
    assert second[0]["messages"][1] == {"role": "assistant", "content": "base answer 1"}
    assert all(question.turns[0] not in found.model_dump_json() for question in QUESTIONS)


def test_a_judge_that_is_none_is_named(serve):
    engine = serve(lambda path, body: says("x"))
    judge = serve(lambda path, body: (200, {"error": "x"}))
    with pytest.raises(EndpointError, match="no chat completion"):
        measure_chat(
            Endpoint(engine.url, "b", "k"),
            Endpoint(engine.url, "c", "k"),
            Endpoint(judge.url, "j", "k"),
            QUESTIONS[:1],
        )
