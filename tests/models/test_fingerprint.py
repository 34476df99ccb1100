"""The behavioural fingerprint: recorded from what is clear, and from nothing else."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from models.errors import EngineError
from models.fingerprint import MARGIN_NATS, MAX_TOKENS, PROMPTS, record
from models.report import Profile

PROFILE = Profile(engine="vllm", engine_version="1", dtype="float32")
DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def engine():
    """An engine whose every token leads by what `leads` says, prompt by prompt."""
    leads: list[list[float]] = []
    asked: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append({**body, "key": self.headers["authorization"]})
            mine = leads[len(asked) % len(leads)] if leads else [9.0] * MAX_TOKENS
            tops = [{"a": -0.1, "b": -0.1 - lead} for lead in mine]
            choice = {"token_ids": list(range(len(mine))), "logprobs": {"top_logprobs": tops}}
            answer = json.dumps({"id": "x", "choices": [{**choice, "text": "y"}]}).encode()
            self.send_response(200 if body["model"] == DIGEST else 404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", leads, asked
    server.shutdown()
    server.server_close()


def test_every_prompt_is_asked_greedily_with_the_engines_key(engine):
    url, _, asked = engine
    made = record(url, "key", DIGEST, PROFILE)
    assert [answer.prompt for answer in made.answers] == list(PROMPTS)
    assert {len(answer.tokens) for answer in made.answers} == {MAX_TOKENS}
    assert (made.checkpoint, made.profile) == (DIGEST, PROFILE.document_digest)
    assert {(body["key"], body["temperature"]) for body in asked} == {("Bearer key", 0)}


def test_an_answer_ends_before_the_first_token_that_is_nearly_tied(engine):
    url, leads, _ = engine
    leads += [[9.0, 9.0, MARGIN_NATS / 2, 9.0], [9.0] * 6, [0.0] * 6]
    made = record(url, "key", DIGEST, PROFILE)
    second, third = (sum(i % 3 == n for i in range(1, len(PROMPTS) + 1)) for n in (0, 1))
    assert sorted(len(answer.tokens) for answer in made.answers) == [2] * second + [6] * third


def test_an_undecided_engine_or_none_has_no_fingerprint(engine):
    url, leads, _ = engine
    with pytest.raises(EngineError, match="status 404"):
        record(url, "key", "sha256:" + "b" * 64, PROFILE)
    leads += [[9.0, 0.0], [0.0]]
    with pytest.raises(EngineError, match=f"only {len(PROMPTS) // 2} tokens"):
        record(url, "key", DIGEST, PROFILE)
    with pytest.raises(EngineError, match="cannot be asked"):
        record("http://127.0.0.1:9", "key", DIGEST, PROFILE)
