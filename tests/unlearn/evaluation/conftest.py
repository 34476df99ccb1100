"""A tiny lettered model, and a stand-in for vLLM's completions that computes with it."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from models.manifest import Manifest
from models.store import CheckpointStore
from tests.models.checkpoints import NOW, SOURCE, put_candidate
from unlearn.evaluation.items import Item

WORDS = (
    *"ABCDabcdefgh.:?()",
    "Answer",
    "Question",
    "tea",
    "cup",
    "river",
    "The",
    "following",
    "are",
)
ITEMS: tuple[Item, ...] = tuple(
    {"question": question, "choices": ["a b", "c", "d e f", "g"], "answer": index % 4}
    for index, question in enumerate(("a tea ?", "b c cup", "h g", "river e", "f f f"))
)


@pytest.fixture
def float32(monkeypatch) -> None:
    """Compute in what the stand-in computes in, also where bfloat16 is the faster one."""
    for module in ("inprocess", "currency"):
        monkeypatch.setattr(f"unlearn.evaluation.{module}.native_dtype", lambda: "float32")


def write_model(directory: Path, seed: int) -> None:
    vocabulary = {"<unk>": 0} | {word: index + 1 for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="<unk>",
        pad_token="<unk>",
        chat_template="{% for m in messages %}Question {{ m.content }} {% endfor %}Answer :",
    ).save_pretrained(directory)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        # Far from uniform, so that no two choices are nearly as likely.
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)


@dataclass
class Pair:
    """A base and a candidate in a store."""

    store: CheckpointStore
    base: Manifest
    candidate: Manifest

    @property
    def home(self) -> Path:
        return self.store.root.parent


@pytest.fixture
def pair(store: CheckpointStore, tmp_path: Path) -> Pair:
    with store.staging() as staged:
        write_model(staged, 7)
        base = store.put(
            staged, family="smollm2", hazards=("capitals",), source=SOURCE, created_at=NOW
        )
    made = put_candidate(store, base.digest, b"x")
    with store.staging() as staged:
        write_model(staged, 8)
        candidate = store.put(
            staged,
            family="smollm2",
            hazards=("capitals",),
            lineage=made.lineage,
            created_at=NOW,
        )
    return Pair(store, base, candidate)


@dataclass
class FakeApi:
    """An HTTP server that answers by a function of path and body, and keeps what it was asked."""

    answer: Callable[[str, dict], tuple[int, dict]]
    asked: list[tuple[str, dict]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    url: str = ""


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str, dict], tuple[int, dict]]], FakeApi]]:
    servers = []

    def start(answer) -> FakeApi:
        api = FakeApi(answer)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                api.asked.append((self.path, body))
                api.keys.add(self.headers.get("authorization", ""))
                status, content = api.answer(self.path, body)
                raw = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        api.url = f"http://127.0.0.1:{server.server_address[1]}"
        return api

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def completions(checkpoint: Path) -> Callable[[str, dict], tuple[int, dict]]:
    """Answer `/v1/completions` as vLLM does, for a checkpoint: echo, logprobs, chosen tokens."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)

    def answer(path: str, body: dict) -> tuple[int, dict]:
        assert path == "/v1/completions"
        assert body["max_tokens"] == 1
        assert body["temperature"] == 0
        assert body["logprobs"] == 1
        choices = []
        for index, prompt in enumerate(body["prompt"]):
            with torch.no_grad():
                found = model(torch.tensor([prompt])).logits[0].log_softmax(-1)  # (T, V)
            echoed = [None] + [found[i, prompt[i + 1]].item() for i in range(len(prompt) - 1)]
            last = {f"token_id:{t}": found[-1, t].item() for t in body["logprob_token_ids"]}
            best = found[-1].max().item()
            before = echoed if body["echo"] else []
            choices.append(
                {
                    "index": index,
                    "logprobs": {
                        "token_logprobs": [*before, best],
                        "top_logprobs": [*([None] * len(before)), last],
                    },
                }
            )
        return 200, {"choices": choices[::-1]}

    return answer
