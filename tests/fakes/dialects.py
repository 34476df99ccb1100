"""What vLLM answers on each path beside chat's, as 0.32.0 was seen to answer."""

import json


def _named(name: str, **fields) -> bytes:
    data = json.dumps({"type": name, **fields}, separators=(",", ":"))
    return f"event: {name}\ndata: {data}\n\n".encode()


def _response(text: str, tokens: int, status: str) -> dict:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
    item = {
        "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [part],
    }  # fmt: skip
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": status,
        "model": "smollm2:label", "output": [item] if status == "completed" else [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": None,
        "usage": {
            "input_tokens": 3, "output_tokens": tokens, "total_tokens": 3 + tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        } if status == "completed" else None,
    }  # fmt: skip


def _message(content: list, tokens: int) -> dict:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "content": content,
        "model": "smollm2:label", "stop_reason": "end_turn" if content else None,
        "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": tokens},
    }  # fmt: skip


def whole(path: str, text: str, tokens: int) -> dict | None:
    """A whole answer; None on paths that answer as chat does."""
    match path:
        case "/v1/responses":
            return _response(text * tokens, tokens, "completed")
        case "/v1/messages":
            return _message([{"type": "text", "text": text * tokens}], tokens)
        case "/v1/messages/count_tokens":
            return {"input_tokens": 3}
        case _:
            return None


def events(path: str, text: str, tokens: int) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """The events of a stream: before the tokens, one for each of them, after them."""
    if path == "/v1/responses":
        at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        whole = _response(text * tokens, tokens, "completed")
        item = whole["output"][0]
        part = item["content"][0]
        begun = {**item, "status": "in_progress", "content": []}
        return (
            [
                _named("response.created", response=_response("", 0, "in_progress")),
                _named("response.output_item.added", output_index=0, item=begun),
                _named("response.content_part.added", part={**part, "text": ""}, **at),
            ],
            [_named("response.output_text.delta", delta=text, logprobs=[], **at)] * tokens,
            [
                _named("response.output_text.done", text=text * tokens, logprobs=[], **at),
                _named("response.content_part.done", part=part, **at),
                _named("response.output_item.done", output_index=0, item=item),
                _named("response.completed", response=whole),
            ],
        )
    block = {"type": "text", "text": ""}
    stopped = {"stop_reason": "end_turn", "stop_sequence": None}
    usage = {"input_tokens": 3, "output_tokens": tokens}
    return (
        [
            _named("message_start", message=_message([], 0)),
            _named("content_block_start", index=0, content_block=block),
        ],
        [_named("content_block_delta", index=0, delta={"type": "text_delta", "text": text})]
        * tokens,
        [
            _named("content_block_stop", index=0),
            _named("message_delta", delta=stopped, usage=usage),
            _named("message_stop"),
        ],
    )
