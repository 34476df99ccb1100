"""What the official SDKs do at a gateway's door, whatever engines are behind it.

The fixture `door` says where. `tests/gateway/dataplane/test_sdks.py` runs it before fake engines,
`tests/e2e/test_sdks.py` before real ones.
"""

import asyncio

import anthropic
import openai
import pytest

from tests.conformance.door import Door, run_node

FRANCE = {"role": "user", "content": "What is the capital of France?"}
SHORT = {"model": "smollm2", "messages": [FRANCE], "max_tokens": 8}


def test_chat_and_its_headers(door: Door):
    with door.openai("researcher") as sdk:
        raw = sdk.chat.completions.with_raw_response.create(**SHORT)
        answer = raw.parse()
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert answer.model.startswith("smollm2:")
        assert raw.headers["x-request-id"] == answer._request_id
        assert raw.headers["x-airlock-tier"] == "researcher"
        assert raw.headers["openai-version"] == "2020-10-01"
        assert int(raw.headers["openai-processing-ms"]) >= 0
        assert int(raw.headers["x-ratelimit-remaining-requests"]) >= 0
        again = [FRANCE, answer.choices[0].message, {"role": "user", "content": "Sure?"}]
        assert sdk.chat.completions.create(**{**SHORT, "messages": again}).choices


def test_streams(door: Door):
    with door.openai() as sdk:
        chunks = list(
            sdk.chat.completions.create(
                **SHORT, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens > 0
        assert all(c.choices for c in sdk.chat.completions.create(**SHORT, stream=True))


def test_async_clients(door: Door):
    async def main() -> None:
        async with door.async_openai() as sdk:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(sdk.chat.completions.create(**SHORT)) for _ in "1234"]
            assert all(task.result().choices for task in running)
            stream = await sdk.chat.completions.create(**SHORT, stream=True)
            assert [chunk async for chunk in stream]
            events = await sdk.responses.create(
                model="smollm2", input="Hello", max_output_tokens=8, stream=True
            )
            assert [event.type async for event in events][-1] in ENDS

    asyncio.run(main())


ENDS = ("response.completed", "response.incomplete")


def test_responses(door: Door):
    with door.openai() as sdk:
        given = {"model": "smollm2", "max_output_tokens": 8}
        first = sdk.responses.create(input="Hello", **given)
        assert first.output_text
        assert first.usage is not None
        assert first.model == "smollm2:unlearned" or "label" in first.model
        conversation = [
            {"role": "user", "content": "Hello"},
            *first.output,
            {"role": "user", "content": "Again"},
        ]
        assert sdk.responses.create(input=conversation, **given).output_text
        with sdk.responses.stream(input="Hello", **given) as stream:
            kinds = [event.type for event in stream]
        assert kinds[0] == "response.created"
        assert kinds[-1] in ENDS
        for state in ({"previous_response_id": "resp_1"}, {"store": True}, {"background": True}):
            with pytest.raises(openai.BadRequestError) as refused:
                sdk.responses.create(input="Hello", **given, **state)
            assert refused.value.param == next(iter(state))
        with pytest.raises(openai.NotFoundError):
            sdk.responses.retrieve("resp_1")


def test_completions_and_models(door: Door):
    with door.openai() as sdk:
        assert sdk.completions.create(model="smollm2", prompt="Bees", max_tokens=4).choices[0].text
        assert [m.id for m in sdk.models.list()] == ["smollm2", "smollm2:unlearned"]
        assert sdk.models.retrieve("smollm2").to_dict()["max_model_len"] == 2048


def test_error_classes(door: Door):
    cases: list[tuple] = [
        ("nobody", {}, openai.AuthenticationError, "invalid_api_key"),
        ("public", {"model": "smollm2:base"}, openai.PermissionDeniedError, "grant_required"),
        ("public", {"model": "gpt-4"}, openai.NotFoundError, "model_not_found"),
        ("public", {"seed": 1}, openai.BadRequestError, "unsupported_parameter"),
        ("public", {"n": 100}, openai.BadRequestError, "invalid_request"),
        ("public", {"user": "x" * 3_000_000}, openai.APIStatusError, None),
    ]
    for who, extra, kind, code in cases:
        with door.openai(who) as sdk, pytest.raises(kind) as refused:
            sdk.chat.completions.create(**{**SHORT, **extra})
        assert code is None or refused.value.code == code
        assert str(refused.value.request_id).startswith("req_")
    with door.openai() as sdk, pytest.raises(openai.BadRequestError) as refused:
        sdk.embeddings.create(model="smollm2", input="a")
    assert refused.value.code == "endpoint_not_served"
    with door.openai() as sdk:  # The engine that was asked is still there.
        assert sdk.chat.completions.create(**SHORT).choices


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_anthropic_messages(door: Door):
    with door.anthropic("researcher") as sdk:
        whole = sdk.messages.create(**SHORT)
        assert text_of(whole)
        assert whole.usage.output_tokens > 0
        assert str(whole._request_id).startswith("req_")
        with sdk.messages.stream(**SHORT, system="Be brief.") as stream:
            text = "".join(stream.text_stream)
            last = stream.get_final_message()
        assert text == text_of(last)
        assert last.usage.output_tokens > 0
        assert last.stop_reason in ("end_turn", "max_tokens")
        counted = sdk.messages.count_tokens(model="smollm2", messages=[FRANCE])
        assert counted.input_tokens > 0
    bearer = anthropic.Anthropic(base_url=door.url, auth_token=door.key("public"), max_retries=0)
    with bearer:
        assert bearer.messages.create(**SHORT).content


def test_anthropic_errors(door: Door):
    cases: list[tuple] = [
        ("nobody", {}, anthropic.AuthenticationError, "authentication_error"),
        ("public", {"model": "smollm2:base"}, anthropic.PermissionDeniedError, "permission_error"),
        ("public", {"model": "gpt-4"}, anthropic.NotFoundError, "not_found_error"),
        ("public", {"max_tokens": 10**9}, anthropic.BadRequestError, "invalid_request_error"),
        (
            "public",
            {"messages": [FRANCE, {"role": "assistant", "content": "The"}]},
            anthropic.BadRequestError,
            "invalid_request_error",
        ),
    ]
    for who, extra, kind, name in cases:
        with door.anthropic(who) as sdk, pytest.raises(kind) as refused:
            sdk.messages.create(**{**SHORT, **extra})
        assert refused.value.response.json()["error"]["type"] == name
        assert str(refused.value.request_id).startswith("req_")


def test_node_sdk(door: Door):
    assert run_node(door, "openai.mjs").split("\n")[-2] == "ok errors"
