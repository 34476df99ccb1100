"""Everything that must not be in a log, said to a gateway in every way that may go wrong."""

from collections.abc import Iterator

import httpx

from tests.gateway.monitoring.stage import CHAT, Stage

SAID = "CANARY-prompt-5f1c"
ANSWERED = "CANARY-answer-77d0"
TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJDQU5BUlktdG9rZW4ifQ.Q0FOQVJZ"
COOKIE = "__Host-airlock_session=CANARY-cookie-31aa"
MESSAGES = [{"role": "user", "content": SAID}]
JSON = {"content-type": "application/json"}


def secrets(stage: Stage) -> Iterator[str]:
    """Yield what no log may hold."""
    yield from ("CANARY", SAID, ANSWERED, TOKEN, "Q0FOQVJZ", "engine-key")
    running = stage.running
    # Of a key that is known the id may be there, not the secret.
    yield from (key.split("_")[3] for key in (*running.keys.values(), running.admin_key))


def whisper(stage: Stage) -> None:
    """Say it to the second gateway: well, badly, to engines that fail, as others."""
    engine = stage.running.engines["base"]
    was, engine.text = engine.text, ANSWERED
    with httpx.Client(base_url=stage.second, timeout=30) as client:
        for path, body in BODIES.items():
            tell(stage, client, path, json={"model": "smollm2", **body})
            tell(stage, client, path, json={"model": "smollm2", **body, "stream": True})
        for mode in ("garbage", "400", "500", "die"):
            engine.mode = mode
            given = {"model": "smollm2", "messages": MESSAGES, "user": f"CANARY {mode}"}
            tell(stage, client, CHAT, json={**given, "stream": mode == "die"})
        engine.mode, engine.text = "ok", was
        for content in BROKEN:
            tell(stage, client, CHAT, content=content, headers=JSON)
        tell(stage, client, f"{CHAT}?key=CANARY-query", json={"CANARY-field": SAID})
        tell(stage, client, "/v1/files", files={"file": ("CANARY.jsonl", SAID)})
        tell(stage, client, "/v1/files", content=SAID, headers={"content-type": FORM})
        client.get(f"/v1/CANARY-path/{SAID}", headers={"authorization": f"Bearer {TOKEN}"})
        for headers in STRANGERS:
            client.post(CHAT, json={"model": SAID, "messages": MESSAGES}, headers=headers)
            client.get("/admin/v1/people", headers=headers)
            client.post("/admin/v1/people", json={"CANARY": SAID}, headers=headers)
            client.get("/login/lab/callback?code=CANARY-code&state=CANARY-state", headers=headers)
        admin = {"authorization": f"Bearer {stage.running.admin_key}"}
        client.post("/admin/v1/people", json={"name": SAID, "tier": 5}, headers=admin)
        client.post("/admin/v1/grants", json={"reason": SAID, "domain": "\x00"}, headers=admin)


def tell(stage: Stage, client: httpx.Client, path: str, **given) -> None:
    """Say it as the researcher."""
    who = {"authorization": f"Bearer {stage.running.keys['researcher']}", "cookie": COOKIE}
    client.post(path, **{**given, "headers": {**who, **given.pop("headers", {})}})


FORM = "multipart/form-data; boundary=CANARY"
BODIES: dict[str, dict] = {
    CHAT: {"messages": MESSAGES},
    "/v1/completions": {"prompt": SAID},
    "/v1/responses": {"input": SAID},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 5},
    "/v1/embeddings": {"input": SAID},
}
BROKEN = (
    f'{{"model": "{SAID}", '.encode(),
    f'{{"model": ["{SAID}"], "messages": "{SAID}"}}'.encode(),
    b'{"model": "\xff' + SAID.encode() + b'"}',
)
STRANGERS = (
    {"authorization": "Bearer airlock_key_CANARYCANARY_CANARYCANARY_CANARY"},
    {"authorization": f"Bearer {TOKEN}"},
    {"authorization": "Basic Q0FOQVJZOkNBTkFSWQ=="},
    {"x-api-key": "CANARY-key", "cookie": COOKIE},
)
