"""The official SDKs before real vLLM: what only a real model and a real engine can show."""

import json
from typing import Literal

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.conformance.door import Door, run_node
from tests.conformance.suite import *  # noqa: F403
from tests.conformance.suite import FRANCE, batch_input, wait_for_batch
from tests.e2e.conftest import Demo

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(1500)]
TOOL = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


ROOM = 150
"""Tokens for a whole call: one that is cut off is no call."""


class Verdict(BaseModel):
    """A form that a model fills in."""

    answer: Literal["yes", "no"]


@pytest.fixture
def door(demo: Demo) -> Door:
    demo.wait_ready()
    people = ("public", "researcher")
    return Door(demo.root, {who: demo.facts[f"{who}_key"] for who in people})


def test_tools(door: Door):
    given = {"model": "smollm2", "messages": [FRANCE], "max_tokens": ROOM, "temperature": 0}
    tools = [{"type": "function", "function": TOOL}]
    # Without this a model may go on to call until it is cut off.
    once = {"parallel_tool_calls": False}
    with door.openai("researcher") as sdk:
        named = {"type": "function", "function": {"name": "get_weather"}}
        for choice in (named, "required"):
            answer = sdk.chat.completions.create(**given, **once, tools=tools, tool_choice=choice)
            message = answer.choices[0].message
            assert message.tool_calls
            call = message.tool_calls[0]
            assert call.type == "function"
            assert call.function.name == "get_weather"
            assert set(json.loads(call.function.arguments)) == {"city"}
        result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        after = sdk.chat.completions.create(**{**given, "messages": [FRANCE, message, result]})
        assert after.choices[0].message.content
        response = sdk.responses.create(
            model="smollm2",
            input="The weather in Paris?",
            max_output_tokens=ROOM,
            tools=[{"type": "function", **TOOL}],
            tool_choice="required",
            **once,
        )
        assert [item.type for item in response.output] == ["function_call"]
    with door.anthropic("researcher") as other:
        whole = other.messages.create(
            model="smollm2",
            messages=[FRANCE],
            max_tokens=ROOM,
            tools=[{"name": TOOL["name"], "input_schema": TOOL["parameters"]}],
            tool_choice={"type": "tool", "name": "get_weather"},
        )
        assert whole.stop_reason == "tool_use"
        assert [block.type for block in whole.content] == ["tool_use"]


def test_structured_outputs(door: Door):
    with door.openai() as sdk:
        parsed = sdk.chat.completions.parse(
            model="smollm2", messages=[FRANCE], max_tokens=60, response_format=Verdict
        )
        assert isinstance(parsed.choices[0].message.parsed, Verdict)
        response = sdk.responses.parse(
            model="smollm2", input="Is Paris a city?", max_output_tokens=60, text_format=Verdict
        )
        assert isinstance(response.output_parsed, Verdict)
        # Of a stream vLLM looks at the schema only when it has begun.
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError):
                sdk.chat.completions.create(
                    model="smollm2",
                    messages=[FRANCE],
                    stream=stream,
                    response_format={
                        "type": "json_schema",
                        "json_schema": {"name": "x", "schema": {"type": "nonsense"}},
                    },
                )


def test_logprobs_choices_and_stops(door: Door):
    given = {"model": "smollm2", "messages": [FRANCE], "max_tokens": 8}
    with door.openai("researcher") as sdk:
        answer = sdk.chat.completions.create(**given, logprobs=True, top_logprobs=3, n=3)
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        for choice in answer.choices:
            assert choice.logprobs is not None
            assert choice.logprobs.content
            assert len(choice.logprobs.content[0].top_logprobs) == 3
        stopped = sdk.chat.completions.create(**given, temperature=0, stop=" is")
        assert stopped.choices[0].finish_reason == "stop"
        assert " is" not in (stopped.choices[0].message.content or "")


def test_levers_work_for_those_who_have_them(door: Door):
    begun = {"role": "assistant", "content": "The capital of France is"}
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    with door.openai("researcher") as sdk:
        answer = sdk.chat.completions.create(
            model="smollm2",
            messages=[FRANCE, begun],
            max_tokens=4,
            temperature=0,
            extra_body=extra,
        )
        assert "Paris" in (answer.choices[0].message.content or "")
        chosen = sdk.chat.completions.create(
            model="smollm2",
            messages=[FRANCE],
            max_tokens=8,
            extra_body={"structured_outputs": {"choice": ["Rome"]}},
        )
        assert chosen.choices[0].message.content == "Rome"
        echoed = sdk.completions.create(
            model="smollm2", prompt="Paris is in France", echo=True, logprobs=1, max_tokens=1
        )
        assert echoed.choices[0].text.startswith("Paris is in France")


def test_the_usage_of_every_endpoint_is_the_engines_own_count(demo: Demo, door: Door):
    """What callers are told is what the gateway's metrics add up to."""

    def counted() -> list[float]:
        rows = httpx.get(f"{demo.root}/metrics").text.splitlines()
        mine = [
            row for row in rows if row.startswith("airlock_tokens_total{") and "unlearned" in row
        ]
        return [
            sum(float(row.rsplit(" ", 1)[1]) for row in mine if f'type="{name}"' in row)
            for name in ("prompt", "completion")
        ]

    before = counted()
    told = [0, 0]
    with door.openai() as sdk, door.anthropic() as other:
        message = other.messages.create(model="smollm2", messages=[FRANCE], max_tokens=5)
        told[0] += message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)
        told[1] += message.usage.output_tokens
        for given in ({}, {"stream": True}):
            answer = sdk.responses.create(
                model="smollm2", input="Hello", max_output_tokens=5, **given
            )
            last = list(answer)[-1].response if given else answer
            assert last.usage is not None
            told[0] += last.usage.input_tokens
            told[1] += last.usage.output_tokens
    after = counted()
    assert [after[0] - before[0], after[1] - before[1]] == told


def test_a_batch_is_answered_by_its_callers_checkpoint(door: Door):
    """The same lines, in one batch of each caller's, under way together."""
    made, said, named = {}, {}, {}
    with door.openai() as public, door.openai("researcher") as researcher:
        sdks = {"public": public, "researcher": researcher}
        for who, sdk in sdks.items():
            file = sdk.files.create(file=("a.jsonl", batch_input(4)), purpose="batch")
            made[who] = sdk.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        for who, sdk in sdks.items():
            done = wait_for_batch(sdk, made[who].id)
            text = sdk.files.content(done.output_file_id).text
            bodies = [json.loads(row)["response"]["body"] for row in text.splitlines()]
            assert len(bodies) == 4
            assert done.usage is not None
            assert done.usage.output_tokens == sum(b["usage"]["completion_tokens"] for b in bodies)
            named[who] = {body["model"] for body in bodies}
            said[who] = [body["choices"][0]["message"]["content"] for body in bodies]
        with pytest.raises(openai.NotFoundError):
            public.files.content(made["researcher"].input_file_id)
    assert named == {"public": {"smollm2:unlearned"}, "researcher": {"smollm2:base"}}
    assert any("Paris" in text for text in said["researcher"])
    assert not any("Paris" in text for text in said["public"])


def test_compatcanary_finds_nothing_missing(door: Door):
    report = json.loads(
        run_node(
            door,
            *("--import", "./greedy.mjs"),
            "node_modules/compatcanary/src/cli.js",
            *("scan", "--base-url", f"{door.url}/v1", "--model", "smollm2"),
            *("--profile", "modern", "--format", "json", "--timeout", "120", "--fail-on", "any"),
            who="public",
        )
    )
    assert {result["status"] for result in report["results"]} == {"pass"}
