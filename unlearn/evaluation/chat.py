"""Chat quality: two-turn conversations, graded one by one by another model.

The procedure is MT-Bench's single-answer grading (arXiv 2306.05685): greedy answers, the judge sees
the conversation so far and ends with `[[grade]]`, 1 to 10. The questions are our own and harmless.
"""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from models.documents import digest_of
from models.report import ChatQuality, ChatScore
from unlearn.errors import EndpointError
from unlearn.evaluation.endpoint import Endpoint

QUESTIONS = Path(__file__).parent / "data" / "conversations.jsonl"
MAX_ANSWER_TOKENS = 512
AT_ONCE = 4
JUDGE_RULES = (
    "You grade answers of an assistant. Judge whether the last answer is correct, relevant, "
    "complete, clear and in the form that was asked for. Length is no merit. First explain in two "
    "or three sentences, then end with the grade alone on a line, from 1 (useless) to 10 "
    "(excellent), in double square brackets, like this: [[5]]"
)
JUDGE_FRAME = "Conversation:\n\n{conversation}\n\nGrade the assistant's last answer."
GRADE = re.compile(r"\[\[\s*(10|[1-9])\s*\]\]")

Message = dict[str, str]


class Question(NamedTuple):
    """Two turns of a user, of which the second builds on the first."""

    category: str
    turns: tuple[str, ...]

    @property
    def id(self) -> str:
        """Its name in a report."""
        return digest_of([self.category, *self.turns]).removeprefix("sha256:")


def read_questions() -> tuple[Question, ...]:
    """Return the questions that ship with the package."""
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    return tuple(Question(row["category"], tuple(row["turns"])) for row in rows)


def measure_chat(
    base: Endpoint,
    candidate: Endpoint,
    judge: Endpoint,
    questions: Sequence[Question] | None = None,
) -> ChatQuality:
    """Return the grades of both checkpoints' answers.

    Args:
        base: The base's engine.
        candidate: The candidate's.
        judge: An OpenAI-compatible API, its address ending in `/v1` or the like.
        questions: Those that ship with the package, unless others are given.

    Raises:
        EndpointError: An engine or the judge does not answer. A judge that answers without a
            grade leaves that score out.
    """
    asked = tuple(questions if questions is not None else read_questions())

    def graded(engine: Endpoint) -> tuple[ChatScore, ...]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            scores = pool.map(lambda question: _converse(engine, judge, question), asked)
            return tuple(score for part in scores for score in part)

    return ChatQuality(
        judge=judge.model,
        questions=digest_of([[one.category, *one.turns] for one in asked]),
        prompts=digest_of([JUDGE_RULES, JUDGE_FRAME]),
        base=graded(base),
        candidate=graded(candidate),
    )


def _converse(engine: Endpoint, judge: Endpoint, question: Question) -> list[ChatScore]:
    messages: list[Message] = []
    scores = []
    for turn, text in enumerate(question.turns, 1):
        messages.append({"role": "user", "content": text})
        answer = _chat(engine, "/v1/chat/completions", messages, MAX_ANSWER_TOKENS)
        messages.append({"role": "assistant", "content": answer})
        scores.append(
            ChatScore(
                question=question.id,
                category=question.category,
                turn=turn,
                score=_grade(judge, messages),
            )
        )
    return scores


def _grade(judge: Endpoint, messages: Sequence[Message]) -> int | None:
    conversation = "\n\n".join(f"[{one['role']}]\n{one['content']}" for one in messages)
    told = [
        {"role": "system", "content": JUDGE_RULES},
        {"role": "user", "content": JUDGE_FRAME.format(conversation=conversation)},
    ]
    said = _chat(judge, "/chat/completions", told, MAX_ANSWER_TOKENS)
    # The last one: a judge that quotes the answer might repeat a grade that stands in it.
    grades = GRADE.findall(said)
    return int(grades[-1]) if grades else None


def _chat(endpoint: Endpoint, path: str, messages: Sequence[Message], max_tokens: int) -> str:
    body = {
        "model": endpoint.model,
        "messages": list(messages),
        "temperature": 0,
        "max_tokens": max_tokens,
    }
    answer = endpoint.post(path, body)
    try:
        return str(answer["choices"][0]["message"]["content"] or "")  # type: ignore[index]
    except (KeyError, IndexError, TypeError) as error:
        raise EndpointError(endpoint.url, "its answer is no chat completion") from error
