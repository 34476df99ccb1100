"""What a model said is sent back as the SDKs have it, in the next request of a conversation."""

import msgspec
import pytest
from anthropic.types import ToolUseBlock
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
)
from openai.types.responses.response_output_text import Logprob

from gateway.dataplane.endpoints import ENDPOINTS
from gateway.dataplane.wire.engine_body import encode
from gateway.dataplane.wire.request import Request, Seal, check_limits, decode

TEXT = ResponseOutputText(
    type="output_text", text="Paris", annotations=[],
    logprobs=[Logprob(token="Paris", bytes=[80], logprob=-0.5, top_logprobs=[])],
)  # fmt: skip
SAID = {
    "a call": ResponseFunctionToolCall(
        type="function_call", id="i", call_id="c", name="f", arguments="{}", status="completed"
    ),
    "a message": ResponseOutputMessage(
        type="message", id="i", role="assistant", status="completed", content=[TEXT]
    ),
    "a reasoning": ResponseReasoningItem(type="reasoning", id="i", summary=[]),
}
USER = {"role": "user", "content": "x"}


def taken(path: str, body: dict) -> Request:
    request = decode(msgspec.json.encode({"model": "m", **body}), ENDPOINTS[path].decoder)
    check_limits(request, allowed=frozenset(), max_output_tokens=100)
    return request


@pytest.mark.parametrize("by_alias", [False, True])
@pytest.mark.parametrize("what", SAID)
def test_responses_take_back_what_they_gave(what, by_alias):
    said = SAID[what].model_dump(mode="json", by_alias=by_alias)
    request = taken("/v1/responses", {"input": [USER, said, USER]})
    sent = msgspec.json.decode(encode(request, Seal("sha256:0", "salt", 0, None)))
    assert sent["input"][1]["type"] == said["type"]
    assert not {"async", "async_", "caller", "namespace", "logprobs"} & set(str(sent).split("'"))


def test_messages_take_back_what_they_gave():
    use = ToolUseBlock(type="tool_use", id="c", name="f", input={}).model_dump(mode="json")
    told = {"type": "tool_result", "tool_use_id": "c", "content": "4"}
    turns = [USER, {"role": "assistant", "content": [use]}, {"role": "user", "content": [told]}]
    taken("/v1/messages", {"max_tokens": 5, "messages": turns})
