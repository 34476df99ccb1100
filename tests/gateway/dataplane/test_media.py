"""Images: within the request, and only to engines whose profile takes them; nothing else."""

import pytest

from tests.gateway.conftest import make_settings, run_gateway
from tests.gateway.controlplane.test_admin_api import code
from tests.models.checkpoints import PROFILE

PIXEL = "data:image/png;base64,iVBORw0KGgo="
BASE64 = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def chat(*parts: dict) -> tuple[str, dict]:
    message = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, *parts]}
    return "/v1/chat/completions", {"model": "smollm2", "messages": [message]}


def responses(*parts: dict) -> tuple[str, dict]:
    said = {"role": "user", "content": [{"type": "input_text", "text": "What?"}, *parts]}
    return "/v1/responses", {"model": "smollm2", "input": [said]}


def messages(*parts: dict, path: str = "/v1/messages") -> tuple[str, dict]:
    body = {"model": "smollm2", "messages": [{"role": "user", "content": list(parts)}]}
    return path, body if "count" in path else {**body, "max_tokens": 8}


RESULT = {
    "type": "tool_result",
    "tool_use_id": "t",
    "content": [{"type": "image", "source": BASE64}],
}
IMAGES = {
    "chat": (chat({"type": "image_url", "image_url": {"url": PIXEL}}), "messages"),
    "responses": (responses({"type": "input_image", "image_url": PIXEL}), "input"),
    "messages": (messages({"type": "image", "source": BASE64}), "messages"),
    "a tool's result": (messages(RESULT), "messages"),
    "count_tokens": (
        messages({"type": "image", "source": BASE64}, path="/v1/messages/count_tokens"),
        "messages",
    ),
}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
NEVER = {
    "an address": chat({"type": "image_url", "image_url": {"url": "https://192.0.2.1/x.png"}}),
    "a file of the engine's": chat({"type": "image_url", "image_url": {"url": "file:///etc/x"}}),
    "data that is no image": chat(
        {"type": "image_url", "image_url": {"url": "data:text/html;base64,eA=="}}
    ),
    "an image that can hold a script": chat(
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,eA=="}}
    ),
    "sound": chat(SOUND),
    "sound at an address": chat({"type": "audio_url", "audio_url": {"url": "https://192.0.2.1"}}),
    "a film": chat({"type": "video_url", "video_url": {"url": "data:video/mp4;base64,eA=="}}),
    "embedded numbers": chat({"type": "image_embeds", "image_embeds": "eA=="}),
    "a file": chat({"type": "file", "file": {"file_data": "data:application/pdf;base64,eA=="}}),
    "an address, to responses": responses(
        {"type": "input_image", "image_url": "https://192.0.2.1/x.png"}
    ),
    "a stored file, to responses": responses({"type": "input_image", "file_id": "file-1"}),
    "sound, to responses": responses(SOUND),
    "a file, to responses": responses({"type": "input_file", "file_url": "https://192.0.2.1"}),
    "an address, to messages": messages(
        {"type": "image", "source": {"type": "url", "url": "https://192.0.2.1/x.png"}}
    ),
    "a document, to messages": messages({"type": "document", "source": BASE64}),
}


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    """A gateway whose unlearned checkpoint's engine takes images, and whose base's does not."""
    home = tmp_path_factory.mktemp("media")
    flags = tuple(sorted((*PROFILE.flags, "--limit-mm-per-prompt.image=1")))
    profile = PROFILE.model_copy(update={"flags": flags})
    releases = {"unlearned": {"profile": profile}}
    with run_gateway(make_settings(request, home, "sqlite"), releases=releases) as made:
        yield made


@pytest.mark.parametrize(("given", "field"), list(IMAGES.values()), ids=list(IMAGES))
def test_an_image_goes_to_an_engine_that_takes_it_and_to_no_other(running, given, field):
    path, body = given
    answer = running.post("public", body, path)
    assert answer.status_code == 200, answer.text
    assert "iVBORw0KGgo=" in str(running.engines["unlearned"].bodies[-1])
    asked = len(running.engines["base"].bodies)
    refused = running.post("researcher", {**body, "model": "smollm2:base"}, path)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == "unsupported_parameter"
    assert "takes no images" in error["message"]
    if path != "/v1/messages" and "count" not in path:
        assert error["param"] == field
    assert len(running.engines["base"].bodies) == asked


@pytest.mark.parametrize(("path", "body"), list(NEVER.values()), ids=list(NEVER))
def test_other_media_reach_no_engine(running, path, body):
    asked = len(running.engines["unlearned"].bodies)
    refused = running.post("public", body, path)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["code"] in ("invalid_request", "unsupported_parameter")
    assert len(running.engines["unlearned"].bodies) == asked


def test_text_goes_where_no_image_does(running):
    for who, model in (("public", "smollm2"), ("researcher", "smollm2:base")):
        path, body = chat()
        assert running.post(who, {**body, "model": model}, path).status_code == 200
    assert code(running.chat("public", "smollm2:base")) == (403, "grant_required")
