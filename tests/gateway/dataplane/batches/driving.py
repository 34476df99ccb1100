"""Files and batches over HTTP, for the tests of both."""

import json
from typing import Any

import httpx

from tests.gateway.conftest import Running
from tests.servers import wait_for

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


def line(number: int, url: str = CHAT, model: str = "smollm2", **body) -> dict[str, Any]:
    """One line of a batch."""
    prompts: dict[str, dict] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": f"Hi {number}"}]},
        "/v1/completions": {"prompt": "Hi"},
        "/v1/responses": {"input": "Hi"},
        "/v1/embeddings": {"input": "Hi"},
    }
    whole = {"model": model, **prompts[url], **body}
    return {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": whole}


def jsonl(lines: list[dict]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def ask(running: Running, who: str, method: str, path: str, **kwargs) -> httpx.Response:
    headers = {"authorization": f"Bearer {running.keys.get(who, who)}", **kwargs.pop("headers", {})}
    url = f"{running.url}/v1{path}"
    # Nothing is verified on a loopback port; to load certificates would take most of the time.
    return httpx.request(method, url, headers=headers, timeout=30, verify=False, **kwargs)


def upload(running: Running, who: str, content: bytes, **form) -> httpx.Response:
    files = {"file": ("in.jsonl", content)}
    return ask(running, who, "POST", "/files", files=files, data={"purpose": "batch", **form})


def create(running: Running, who: str, lines: list[dict], **given) -> dict[str, Any]:
    """Upload lines and make a batch of them."""
    file = upload(running, who, jsonl(lines))
    assert file.status_code == 200, file.text
    body = {"endpoint": lines[0]["url"], "completion_window": "24h", **given}
    body["input_file_id"] = file.json()["id"]
    batch = ask(running, who, "POST", "/batches", json=body)
    assert batch.status_code == 200, batch.text
    return batch.json()


def show(running: Running, who: str, batch: dict) -> dict[str, Any]:
    return ask(running, who, "GET", f"/batches/{batch['id']}").json()


def ended(running: Running, who: str, batch: dict, seconds: float = 30.0) -> dict[str, Any]:
    """A batch, once it has ended."""

    def look() -> dict | None:
        found = show(running, who, batch)
        return found if found["status"] in ENDED else None

    return wait_for(look, seconds)


def wait_for_lines(
    running: Running, who: str, batch: dict, number: int, seconds: float = 10.0
) -> None:
    """Wait until so many lines of a batch have ended."""

    def look() -> bool:
        counts = show(running, who, batch)["request_counts"]
        return counts["completed"] + counts["failed"] >= number

    wait_for(look, seconds)


def content(running: Running, who: str, file_id: str) -> httpx.Response:
    return ask(running, who, "GET", f"/files/{file_id}/content")


def results(running: Running, who: str, batch: dict) -> tuple[dict[str, dict], dict[str, dict]]:
    """What the output file and the error file hold, by custom id; each line stands in one, once."""
    found: list[dict[str, dict]] = []
    for name in ("output_file_id", "error_file_id"):
        rows = []
        if batch[name]:
            answer = content(running, who, batch[name])
            assert answer.status_code == 200, answer.text
            rows = [json.loads(row) for row in answer.text.splitlines()]
        found.append({row["custom_id"]: row for row in rows})
        assert len(found[-1]) == len(rows), "a line stands in a file twice"
    output, errors = found
    assert not output.keys() & errors.keys(), "a line stands in both files"
    return output, errors


def text_of(row: dict) -> str:
    """What a model has said in a line of a chat batch."""
    return row["response"]["body"]["choices"][0]["message"]["content"]


def code_of(row: dict) -> str:
    """The code of an error, whether it was an answer's or there was none."""
    return (row["error"] or row["response"]["body"]["error"])["code"]
