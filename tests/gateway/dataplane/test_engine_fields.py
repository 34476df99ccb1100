"""Every field that passes is one that vLLM knows and takes, by its own request classes."""

import json
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest

from gateway.dataplane.endpoints import ENDPOINTS
from gateway.dataplane.wire.engine_body import encode
from gateway.dataplane.wire.request import Seal, check_limits, decode
from gateway.policy.capabilities import Capability
from tests.gateway.dataplane.test_limits import caller

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "pattern": "^P"}}}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
SAMPLING = {
    "model": "m", "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "n": 2,
    "repetition_penalty": 1.1, "presence_penalty": 0.1, "frequency_penalty": 0.1, "stop": ["x"],
    "stream": True, "stream_options": {"include_usage": True}, "user": "u", "seed": None,
    "allowed_token_ids": [1], "logit_bias": {"5": 1.0}, "logprob_token_ids": [1],
    "max_tokens": 5,
}  # fmt: skip
FULL = {
    "/v1/chat/completions": SAMPLING | {
        "messages": [
            {"role": "system", "content": "s", "name": "n"},
            {"role": "developer", "content": [{"type": "text", "text": "t"}]},
            {"role": "user", "content": [
                {"type": "text", "text": "t"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            ]},
            {"role": "assistant", "content": None, "refusal": None, "audio": None,
             "annotations": None, "function_call": None, "reasoning": "r", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "c", "content": "sunny"},
            {"role": "assistant", "content": "I"},
        ],
        "max_completion_tokens": 5, "logprobs": True, "top_logprobs": 2,
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False, "reasoning_effort": "max",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": SCHEMA, "strict": True, "description": "d"},
        },
        "continue_final_message": True, "add_generation_prompt": False,
        "metadata": {"a": "b"}, "prompt_cache_key": "k", "safety_identifier": "s",
        "service_tier": "auto", "store": False, "structured_outputs": None,
        "prompt_logprobs": None,
    },
    "/v1/completions": SAMPLING | {
        "prompt": [[1, 2], [3]], "logprobs": 2, "echo": True, "stream": False,
        "stream_options": None, "prompt_logprobs": 2,
    },
    "/v1/responses": {
        "model": "m", "instructions": "i", "max_output_tokens": 5, "temperature": 0.5,
        "top_p": 0.9, "presence_penalty": 0.1, "frequency_penalty": 0.1, "top_logprobs": 2,
        "include": ["message.output_text.logprobs"], "parallel_tool_calls": True,
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": PIXEL, "detail": "low"},
            ]},
            {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "a", "annotations": [], "logprobs": None},
            ]},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "s"}],
             "content": [{"type": "reasoning_text", "text": "s"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "i"},
            {"type": "function_call_output", "call_id": "c", "output": "4"},
        ],
        "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}},
        "tools": [{"type": "function", **FUNCTION}],
        "tool_choice": {"type": "function", "name": "f"},
        "reasoning": {"effort": "max"}, "truncation": "disabled", "metadata": {"a": "b"},
        "stream": True, "stream_options": {"include_obfuscation": False}, "store": False,
        "background": False, "previous_response_id": None, "conversation": None,
        "service_tier": "auto", "prompt_cache_key": "k", "safety_identifier": "s", "user": "u",
    },
    "/v1/messages": {
        "model": "m", "max_tokens": 2048, "temperature": 0.5, "top_p": 0.9, "top_k": 5,
        "stop_sequences": ["x"], "stream": True, "metadata": {"user_id": "u"},
        "service_tier": "auto", "system": [
            {"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        ],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "a"},
                {"type": "image",
                 "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"city": "Paris"},
                 "caller": None},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c", "is_error": False,
                 "content": [{"type": "text", "text": "sunny"}]},
            ]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "type": "custom",
                   "eager_input_streaming": True, "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
        "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": SCHEMA}},
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    },
    "/v1/embeddings": {
        "model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 4,
        "user": "u",
    },
}  # fmt: skip
COUNTED = (
    "messages", "system", "tools", "tool_choice", "thinking", "output_config", "model",
    "cache_control",
)  # fmt: skip
FULL["/v1/messages/count_tokens"] = {
    name: value for name, value in FULL["/v1/messages"].items() if name in COUNTED
}


VALIDATE = """
import json, sys
from vllm.entrypoints.anthropic import protocol as anthropic
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.pooling.embed.protocol import EmbeddingCompletionRequest

KINDS = {
    "/v1/chat/completions": ChatCompletionRequest,
    "/v1/completions": CompletionRequest,
    "/v1/responses": ResponsesRequest,
    "/v1/messages": anthropic.AnthropicMessagesRequest,
    "/v1/messages/count_tokens": anthropic.AnthropicCountTokensRequest,
    "/v1/embeddings": EmbeddingCompletionRequest,
}
for path, body in json.load(sys.stdin).items():
    unknown, why = sorted(set(body) - set(KINDS[path].model_fields)), None
    try:
        KINDS[path].model_validate(body)
    except Exception as error:
        why = str(error)
    print("verdict", json.dumps([path, unknown, why]))
"""


@pytest.fixture(scope="module")
def verdicts() -> dict[str, list]:
    """What vLLM's own classes say of each full body; in a process of its own, as it serves."""
    given = json.dumps({path: sealed(path, body) for path, body in FULL.items()})
    done = subprocess.run(
        [sys.executable, "-c", VALIDATE],
        input=given,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("verdict ")]
    found = [json.loads(line.removeprefix("verdict ")) for line in lines]
    return {path: [unknown, why] for path, unknown, why in found}


def sealed(path: str, given: dict, most_tokens: int | None = None) -> dict:
    request = decode(json.dumps(given).encode(), ENDPOINTS[path].decoder)
    check_limits(request, allowed=frozenset(Capability), max_output_tokens=2048)
    return msgspec.json.decode(encode(request, Seal("sha256:x", "s" * 43, -10, most_tokens)))


@pytest.mark.parametrize("path", list(ENDPOINTS))
def test_a_request_with_every_field_is_taken_and_nothing_of_it_is_unknown(path, verdicts):
    given = FULL[path]
    assert set(given) == set(ENDPOINTS[path].decoder.type.__struct_fields__)
    assert verdicts[path] == [[], None]


@pytest.mark.parametrize("path", list(ENDPOINTS))
def test_what_is_kept_back_and_what_the_gateway_sets(path):
    body = sealed(path, FULL[path])
    kind = ENDPOINTS[path].decoder.type
    assert not kind.KEPT_BACK - {"stream_options"} & set(body)
    assert body["model"] == "sha256:x"
    assert ("cache_salt" in body) == (path != "/v1/messages/count_tokens")
    assert ("priority" in body) == (not path.startswith("/v1/messages"))
    assert "seed" not in body
    if path == "/v1/responses":
        assert body["store"] is False
    if path == "/v1/chat/completions":
        asked = {"include_usage": True, "continuous_usage_stats": True}
        assert body["stream_options"] == asked


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("kind", ["enabled", "adaptive"])
def test_what_means_nothing_to_an_engine_is_left_out_of_messages(path, kind):
    thinking = {"type": kind} | ({"budget_tokens": 1024} if kind == "enabled" else {})
    body = sealed(path, FULL[path] | {"thinking": thinking | {"display": "summarized"}})
    assert body["thinking"] == thinking
    assert body["output_config"]["effort"] == "max"
    assert body["tools"] == [{"name": "f", "description": "d", "input_schema": SCHEMA}]
    assert b"cache_control" not in msgspec.json.encode(body)


BOUNDS = {
    "/v1/chat/completions": ("max_tokens", "max_completion_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
}
OPEN_END = {
    "/v1/chat/completions": "max_completion_tokens",
    "/v1/completions": None,
    "/v1/responses": "max_output_tokens",
}
"""Without one, vLLM's completions have 16 tokens, the others all that the model can take."""


@pytest.mark.parametrize("path", list(BOUNDS))
@pytest.mark.parametrize("absence", ["left out", "null"])
def test_an_answer_without_a_bound_has_the_gateways(path, absence):
    whole = {name: value for name, value in FULL[path].items() if name not in BOUNDS[path]}
    if absence == "null":
        whole |= dict.fromkeys(BOUNDS[path])
    for most in (None, 77):
        body = sealed(path, whole, most)
        set_here = {name: body[name] for name in BOUNDS[path] if name in body}
        assert set_here == ({OPEN_END[path]: 77} if most and OPEN_END[path] else {})
    for name in BOUNDS[path]:
        assert [sealed(path, whole | {name: 5}, 77).get(field) for field in BOUNDS[path]] == [
            5 if field == name else None for field in BOUNDS[path]
        ]


@pytest.mark.parametrize(("length", "sent"), [(2048, 2000), (2000, None), (None, 2000)])
def test_the_gateways_bound_is_for_models_that_go_beyond_it(running, monkeypatch, length, sent):
    settings = running.settings.model_copy(update={"max_output_tokens": 2000})
    monkeypatch.setattr(running.gateway.data_plane._inference, "_settings", settings)
    lengths = running.gateway.keeper.current().catalogue.max_model_lens
    for digest in list(lengths):
        monkeypatch.setitem(lengths, digest, length)
    assert running.chat("public").status_code == 200
    assert running.engines["unlearned"].bodies[-1].get("max_completion_tokens") == sent


def test_caches_are_apart_by_person_and_tier_and_not_by_key(running):
    """Otherwise one caller could learn from the time an answer takes what another has asked."""
    salt = running.gateway.data_plane._inference._cache_salt
    ada = caller("ada")
    trusted = replace(ada.standing, tier=replace(ada.tier, name="researcher"))
    assert salt(ada) == salt(caller("ada", key="another"))
    assert len({salt(ada), salt(caller("grace")), salt(replace(ada, standing=trusted))}) == 3


FORBIDDEN = (
    "chat_template", "chat_template_kwargs", "media_io_kwargs", "mm_processor_kwargs",
    "prompt_embeds", "kv_transfer_params", "ec_transfer_params", "vllm_xargs", "request_id",
    "session_id", "routed_experts_prompt_start", "return_mm_kwargs", "mm_payload",
    "use_beam_search", "documents", "structural_tag", "logits_processors", "priority",
    "cache_salt", "bad_words", "ignore_eos", "min_tokens", "stop_token_ids",
    "truncate_prompt_tokens", "return_token_ids", "return_prompt_text", "skip_special_tokens",
    "add_special_tokens", "thinking_token_budget", "repetition_detection", "stream_interval",
    "guided_json", "previous_input_messages", "enable_response_messages", "watermarking",
    "prompt", "functions", "web_search_options", "mcp_servers", "container", "best_of", "suffix",
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (path, field)
        for path, endpoint in ENDPOINTS.items()
        for field in FORBIDDEN
        if field not in endpoint.decoder.type.__struct_fields__
    ],
)
def test_what_must_not_reach_an_engine_is_refused_by_name(running, path, field):
    before = sum(len(engine.bodies) for engine in running.engines.values())
    answer = running.post("researcher", {**FULL[path], field: "x"}, path)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_parameter"
    assert f"'{field}'" in answer.json()["error"]["message"]
    assert sum(len(engine.bodies) for engine in running.engines.values()) == before
