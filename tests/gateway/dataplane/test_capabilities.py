"""What a tier's members may ask for beyond a plain answer: refused without, counted with."""

import pytest

from gateway.policy.capabilities import Capability, known
from tests.gateway.dataplane.test_doors import body

CHAT, RAW, RESPONSES, MESSAGES = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
)
USER = {"role": "user", "content": "What is the capital of France?"}
BEGUN = {"role": "assistant", "content": "The capital of France is"}
PATTERN = {"type": "object", "properties": {"city": {"type": "string", "pattern": "^P.*"}}}
NAMED = {"name": "x", "schema": PATTERN}
TOOL = {"type": "function", "function": {"name": "f", "parameters": PATTERN}}

USES = {
    "logit bias": (CHAT, {"logit_bias": {"5": 1.0}}, "logit_bias", "logit_bias"),
    "prompt logprobs": (CHAT, {"prompt_logprobs": 1}, "prompt_logprobs", "prompt_logprobs"),
    "allowed tokens": (RAW, {"allowed_token_ids": [1]}, "allowed_token_ids", "allowed_token_ids"),
    "named logprobs": (RAW, {"logprob_token_ids": [1]}, "logprob_token_ids", "logprob_token_ids"),
    "echo": (RAW, {"echo": True}, "echo", "echo"),
    "a choice": (
        CHAT,
        {"structured_outputs": {"choice": ["Paris"]}},
        "guided_decoding",
        "structured_outputs",
    ),
    "a pattern in a schema": (
        CHAT,
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": NAMED,
            }
        },
        "guided_decoding",
        "response_format",
    ),
    "a pattern in a tool": (CHAT, {"tools": [TOOL]}, "guided_decoding", "response_format"),
    "a pattern in a response": (
        RESPONSES,
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": PATTERN}}},
        "guided_decoding",
        "text",
    ),
    "a last assistant message": (CHAT, {"messages": [USER, BEGUN]}, "prefill", "messages"),
    "a message to go on with": (
        CHAT,
        {"continue_final_message": True},
        "prefill",
        "continue_final_message",
    ),
    "no generation prompt": (
        CHAT,
        {"add_generation_prompt": False},
        "prefill",
        "add_generation_prompt",
    ),
    "a begun response": (RESPONSES, {"input": [USER, BEGUN]}, "prefill", "input"),
    "an item that is not complete": (
        RESPONSES,
        {"input": [{**USER, "status": "in_progress"}]},
        "prefill",
        "input",
    ),
    "a response that thinks already": (
        RESPONSES,
        {"input": [USER, {"type": "reasoning", "summary": []}]},
        "prefill",
        "input",
    ),
    "a begun message": (MESSAGES, {"messages": [USER, BEGUN]}, "prefill", "messages"),
    "begun and counted": (
        f"{MESSAGES}/count_tokens",
        {"messages": [USER, BEGUN]},
        "prefill",
        "messages",
    ),
}


def sent(running) -> int:
    return sum(len(engine.bodies) for engine in running.engines.values())


@pytest.mark.parametrize(
    ("path", "extra", "capability", "field"), list(USES.values()), ids=list(USES)
)
def test_levers_are_refused_without_their_capability_and_counted_with_it(
    running, path, extra, capability, field
):
    given = {**body(path.removesuffix("/count_tokens")), **extra}
    if path.endswith("count_tokens"):
        del given["max_tokens"]
    before = sent(running)
    refused = running.post("public", given, path)
    assert refused.status_code == 400
    assert f"'{field}'" in refused.json()["error"]["message"]
    assert f"'{capability}'" in refused.json()["error"]["message"]
    assert sent(running) == before
    line = f'airlock_capability_uses_total{{capability="{capability}",tier="researcher"}}'
    count = running.metric(line)
    assert running.post("researcher", given, path).status_code == 200
    assert running.metric(line) == count + 1


def test_a_tiers_list_decides_within_a_second_and_an_unknown_word_gives_nothing(fresh):
    raw = body(RAW)
    assert fresh.post("public", raw, RAW).status_code == 200
    changed = fresh.change_tier("public", capabilities=[])
    assert changed["terms"]["capabilities"] == []
    fresh.wait_until_seen()
    refused = fresh.post("public", raw, RAW)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")
    given = {"tier": "public", "change": {"capabilities": ["everything"]}, "reason": "r"}
    unknown = fresh.admin("POST", "/tier-changes", json=given)
    assert unknown.status_code == 400
    assert known(["echo", "everything"]) == {Capability.ECHO}


def test_a_tiers_priority_reaches_the_engine_only_where_engines_know_it(request, tmp_path):
    from tests.gateway.conftest import make_settings, run_gateway

    (tmp_path / "other").mkdir()
    for home, knows in ((tmp_path, True), (tmp_path / "other", False)):
        settings = make_settings(request, home, "sqlite", engine_priorities=knows)
        with run_gateway(settings) as running:
            assert running.chat("researcher").status_code == 200
            assert running.chat("public").status_code == 200
            sent_to = {name: engine.bodies[-1] for name, engine in running.engines.items()}
        assert "priority" not in sent_to["unlearned"]
        assert sent_to["base"].get("priority") == (-10 if knows else None)
