"""What the official SDKs do at a gateway's door, whatever engines are behind it.

The fixture `door` says where. `tests/gateway/dataplane/test_sdks.py` runs it before fake engines,
`tests/e2e/test_sdks.py` before real ones.
"""

import asyncio
import json
import time

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


def batch_input(number: int = 4) -> bytes:
    """Lines of a small chat batch; the last asks for what nobody may have."""
    bodies = [{**SHORT, "temperature": 0} for _ in range(number)]
    bodies.append({**SHORT, "max_tokens": 10**9})
    return b"".join(
        json.dumps(
            {
                "custom_id": f"line-{index}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
        ).encode()
        + b"\n"
        for index, body in enumerate(bodies)
    )


def wait_for_batch(sdk: openai.OpenAI, batch_id: str, seconds: float = 120) -> openai.types.Batch:
    """A batch, once it has ended; asked for as a user would."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        batch = sdk.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        time.sleep(0.2)
    raise AssertionError("the batch did not end in time")


def test_batches(door: Door):
    for who in ("public", "researcher"):
        with door.openai(who) as sdk:
            given = batch_input()
            file = sdk.files.create(file=("requests.jsonl", given), purpose="batch")
            assert sdk.files.content(file.id).read() == given
            assert sdk.files.retrieve(file.id).filename == "requests.jsonl"
            batch = sdk.batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"who": who},
            )
            done = wait_for_batch(sdk, batch.id)
            assert done.status == "completed"
            assert done.metadata == {"who": who}
            assert done.request_counts is not None
            assert (done.request_counts.completed, done.request_counts.failed) == (4, 1)
            assert done.output_file_id
            assert done.error_file_id
            rows = [json.loads(row) for row in sdk.files.content(done.output_file_id).iter_lines()]
            assert {row["custom_id"] for row in rows} == {f"line-{n}" for n in range(4)}
            assert len({row["response"]["body"]["model"] for row in rows}) == 1
            (refused,) = sdk.files.content(done.error_file_id).text.splitlines()
            assert json.loads(refused)["response"]["body"]["error"]["code"] == "invalid_request"
            assert batch.id in {each.id for each in sdk.batches.list(limit=1)}
            ids = {each.id for each in sdk.files.list(limit=2)}
            assert {file.id, done.output_file_id, done.error_file_id} <= ids
            with pytest.raises(openai.ConflictError):
                sdk.batches.cancel(batch.id)
            assert all(sdk.files.delete(each).deleted for each in ids)
            with pytest.raises(openai.NotFoundError):
                sdk.files.retrieve(file.id)


def test_a_batch_that_is_cancelled_or_no_batch(door: Door):
    with door.openai() as sdk:
        file = sdk.files.create(file=("a.jsonl", batch_input(40)), purpose="batch")
        given = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = sdk.batches.create(input_file_id=file.id, **given)
        assert sdk.batches.cancel(batch.id).status in ("cancelling", "cancelled")
        assert wait_for_batch(sdk, batch.id).status == "cancelled"
        wrong = sdk.files.create(file=("a.jsonl", b"nonsense"), purpose="batch")
        failed = wait_for_batch(sdk, sdk.batches.create(input_file_id=wrong.id, **given).id)
        assert failed.status == "failed"
        assert failed.errors is not None
        assert failed.errors.data is not None
        assert failed.errors.data[0].code == "invalid_json_line"
        with pytest.raises(openai.BadRequestError):
            sdk.files.create(file=("a.jsonl", b""), purpose="vision")
        with pytest.raises(openai.NotFoundError):
            sdk.batches.retrieve("batch_1")


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
