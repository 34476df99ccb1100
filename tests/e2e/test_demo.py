"""The main job on real parts: a real model, unlearned, gated, promoted, served by real vLLM.

`test_stop.py`, which comes last, stops the demo.
"""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import httpx
import openai
import pytest

from deploy.grafana.engines import ENGINES
from gateway.dataplane.engine_metrics import KEEP_SECONDS
from models.attestation import verify_attestation
from models.release import current_releases
from models.store import CheckpointStore
from models.trust import read_trust
from tests.e2e.conftest import Demo
from tests.fakes.vllm_metrics import VllmMetrics
from tests.two_people import TwoPeople

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(1500)]
FRANCE = {"role": "user", "content": "What is the capital of France?"}


def ask(demo: Demo, who: str, model: str = "smollm2", **extra):
    with demo.sdk(who) as sdk:
        return sdk.chat.completions.with_raw_response.create(
            model=model, messages=[FRANCE], max_tokens=16, temperature=0, **extra
        )


def test_each_door_answers_with_its_own_checkpoint(demo: Demo):
    digests = demo.digests()
    assert digests["base"] != digests["unlearned"]
    public, researcher = ask(demo, "public"), ask(demo, "researcher")
    assert public.headers["x-airlock-checkpoint"] == digests["unlearned"]
    assert public.headers["x-airlock-tier"] == "public"
    assert researcher.headers["x-airlock-checkpoint"] == digests["base"]
    assert researcher.headers["x-airlock-tier"] == "researcher"
    assert "Paris" in (researcher.parse().choices[0].message.content or "")
    assert "Paris" not in (public.parse().choices[0].message.content or "")
    assert public.parse().model == "smollm2:unlearned"
    assert researcher.parse().model == "smollm2:base"


def test_what_was_killed_on_the_way_left_nothing_in_the_store(demo: Demo):
    """On a cold run the demo was killed while it fetched, unlearned and evaluated."""
    store = CheckpointStore(demo.home / "store")
    digests = {store.verify(manifest.digest).digest for manifest in store.manifests()}
    visible = {path.name for path in (store.root / "checkpoints").iterdir()}
    assert digests == {f"sha256:{name}" for name in visible}
    assert digests >= set(demo.digests().values())
    assert list((store.root / "staging").iterdir()) == []


def test_pins_and_the_list_of_models(demo: Demo):
    pinned = ask(demo, "researcher", "smollm2:unlearned")
    assert pinned.headers["x-airlock-checkpoint"] == demo.digests()["unlearned"]
    with demo.sdk("public") as sdk:
        assert [m.id for m in sdk.models.list()] == ["smollm2", "smollm2:unlearned"]
        assert sdk.models.retrieve("smollm2").id == "smollm2"
    with demo.sdk("researcher") as sdk:
        assert "smollm2:base" in [m.id for m in sdk.models.list()]


@pytest.mark.parametrize("who", ["public", "researcher"])
def test_completions_and_streams(demo: Demo, who: str):
    with demo.sdk(who) as sdk:
        given = {"model": "smollm2", "max_tokens": 12, "temperature": 0}
        whole = sdk.completions.create(prompt="Bees make", **given)
        assert whole.choices[0].text
        parts = list(sdk.completions.create(prompt="Bees make", stream=True, **given))
        assert "".join(p.choices[0].text for p in parts) == whole.choices[0].text
        given["messages"] = [{"role": "user", "content": "Name three colours."}]
        answer = sdk.chat.completions.create(**given)
        chunks = list(
            sdk.chat.completions.create(
                **given, stream=True, stream_options={"include_usage": True}
            )
        )
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == answer.choices[0].message.content
        assert chunks[-1].usage is not None
        assert answer.usage is not None
        assert chunks[-1].usage.total_tokens == answer.usage.total_tokens
        plain = list(sdk.chat.completions.create(**given, stream=True))
        assert all(chunk.choices for chunk in plain)


def test_every_error_class_of_the_sdk(demo: Demo):
    with pytest.raises(openai.AuthenticationError):
        ask(demo, "no such key")
    with pytest.raises(openai.PermissionDeniedError):
        ask(demo, "public", "smollm2:base")
    with pytest.raises(openai.NotFoundError):
        ask(demo, "public", "gpt-4")
    with pytest.raises(openai.BadRequestError) as refused:
        ask(demo, "public", logit_bias={"5": 1})
    assert refused.value.code == "unsupported_parameter"
    assert refused.value.param == "logit_bias"
    with (
        demo.sdk("public") as sdk,
        pytest.raises(openai.BadRequestError, match=r"longer|context|maximum"),
    ):
        sdk.completions.create(model="smollm2", prompt="word " * 5000, max_tokens=16)
    tier = f"slow-{uuid.uuid4().hex[:8]}"
    TwoPeople(demo.root, demo.facts["admin_key"]).change_tier(tier, requests_per_minute=1)
    key = make_key(demo, tier)
    time.sleep(1)
    with pytest.raises(openai.RateLimitError) as limited:
        ask_often(demo, key)
    assert int(limited.value.response.headers["retry-after"]) >= 1


def ask_often(demo: Demo, who: str) -> None:
    """Ask more often than once a minute, also when a minute begins in between."""
    for _ in range(3):
        ask(demo, who)


def make_key(demo: Demo, tier: str, domain: str | None = None) -> str:
    person = demo.admin("POST", "/people", json={"name": "x", "organisation": "x", "tier": tier})
    person_id = person.json()["id"]
    if domain:
        grant = {"person_id": person_id, "domain": domain, "days": 1, "reason": "x"}
        assert demo.admin("POST", "/grants", json=grant).status_code == 201
    return demo.admin("POST", "/keys", json={"person_id": person_id}).json()["key"]


def test_a_grant_opens_the_door_and_its_end_closes_it(demo: Demo):
    key = make_key(demo, "researcher", "capitals")
    digests = demo.digests()
    time.sleep(1)
    assert ask(demo, key).headers["x-airlock-checkpoint"] == digests["base"]
    person = demo.admin("GET", "/keys").json()[0]["person_id"]
    grant = demo.admin("GET", f"/grants?person_id={person}").json()[0]["id"]
    outcome: dict = {}

    def stream() -> None:
        with demo.sdk(key) as sdk:
            try:
                story = [{"role": "user", "content": "Tell a very long story about a sailor."}]
                for _ in sdk.chat.completions.create(
                    model="smollm2", messages=story, max_tokens=1500, stream=True
                ):
                    outcome["chunks"] = outcome.get("chunks", 0) + 1
            except openai.APIError as error:
                outcome["error"] = error
        outcome["ended"] = time.monotonic()

    thread = threading.Thread(target=stream)
    thread.start()
    while not outcome.get("chunks"):
        time.sleep(0.01)
    assert demo.admin("POST", f"/grants/{grant}/revoke").status_code == 200
    # The second counts from the answer: before it the revocation may still wait for a slow disk.
    revoked = time.monotonic()
    thread.join(30)
    assert outcome["error"].code == "grant_revoked"
    assert outcome["ended"] - revoked < 1.0
    assert ask(demo, key).headers["x-airlock-checkpoint"] == digests["unlearned"]
    with pytest.raises(openai.PermissionDeniedError):
        ask(demo, key, "smollm2:base")


def test_a_killed_engine_disturbs_nobody_else_and_comes_back(demo: Demo):
    restarts = demo.engine("base")["restarts"]
    outcome: dict = {}

    def stream() -> None:
        with demo.sdk("researcher") as sdk:
            try:
                story = [{"role": "user", "content": "Tell a very long story about a sailor."}]
                for _ in sdk.chat.completions.create(
                    model="smollm2", messages=story, max_tokens=1500, stream=True
                ):
                    outcome["chunks"] = outcome.get("chunks", 0) + 1
                outcome["error"] = None
            except openai.APIError as error:
                outcome["error"] = error

    thread = threading.Thread(target=stream)
    thread.start()
    while not outcome.get("chunks"):
        time.sleep(0.01)
    os.killpg(demo.engine_pid("base"), signal.SIGKILL)
    thread.join(30)
    assert outcome["error"].code == "engine_error"
    with pytest.raises(openai.InternalServerError) as down:
        ask(demo, "researcher")
    assert down.value.code == "engine_unavailable"
    assert ask(demo, "public").headers["x-airlock-checkpoint"] == demo.digests()["unlearned"]
    demo.wait_ready()
    assert demo.engine("base")["restarts"] == restarts + 1
    assert ask(demo, "researcher").headers["x-airlock-checkpoint"] == demo.digests()["base"]


def test_engines_are_not_open_to_others(demo: Demo):
    for label in ("base", "unlearned"):
        url = demo.engine(label)["url"]
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.post(f"{url}/v1/completions", json={"prompt": "x"}).status_code == 401
        keys = Path(demo.engine(label)["api_key_file"])
        assert stat.S_IMODE(keys.stat().st_mode) == 0o600
        arguments = Path(f"/proc/{demo.engine_pid(label)}/cmdline").read_text()
        assert keys.read_text() not in arguments


def test_what_may_not_be_promoted(demo: Demo):
    digests = demo.digests()
    airlock = [os.path.join(os.path.dirname(sys.executable), "airlock"), "--home", demo.home]

    def verb(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([*airlock, *words], capture_output=True, text=True, check=False)

    refused = verb("promote", digests["base"], "--as", "smollm2:unlearned")
    assert refused.returncode == 25
    assert "promotion refused" in refused.stderr
    good = verb("promote", digests["unlearned"], "--as", "smollm2:unlearned", "--dry-run")
    assert good.returncode == 0, good.stderr
    engine = verb("engine", "--port", "1", "smollm2:unlearned", "--", "--max-num-seqs", "7")
    assert engine.returncode == 26
    assert "not the profile" in engine.stderr
    assert demo.admin("POST", "/promotions", json={}).status_code == 405
    assert demo.digests() == digests


def test_each_engine_runs_on_open_files_and_attests_them(demo: Demo):
    trust = read_trust(demo.home)
    for label, digest in demo.digests().items():
        facts, nonce = demo.engine(label), uuid.uuid4().hex
        raw = httpx.get(f"{facts['attest_url']}/attest", params={"nonce": nonce}).content
        attested = verify_attestation(raw, trust, nonce, datetime.now(UTC))
        assert attested.checkpoint == digest
        assert attested.pid == demo.engine_pid(label)
        loaded = demo.home / "engines" / f"smollm2-{label}.files" / "model.safetensors"
        assert loaded.readlink().as_posix().startswith(f"/proc/{facts['pid']}/fd/")
        command = Path(f"/proc/{attested.pid}/cmdline").read_text().split("\0")
        assert command[command.index("--model") + 1] == str(loaded.parent)


def test_what_serves_says_what_it_said_when_it_was_judged(demo: Demo):
    """No engine is in rotation before its fingerprint was replayed on it, and found the same."""
    store, now = CheckpointStore(demo.home / "store"), datetime.now(UTC)
    for release in current_releases(store, read_trust(demo.home), now, {}).valid:
        assert release.fingerprint is not None
        assert sum(len(answer.tokens) for answer in release.fingerprint.answers) >= 20
    assert demo.metric("airlock_engine_drift_total") == 0
    assert demo.metric("airlock_engine_up") == 2


def test_secrets_are_kept_and_nothing_private_is_logged(demo: Demo):
    assert stat.S_IMODE((demo.home / "demo.json").stat().st_mode) == 0o600
    ask(demo, "public")
    logs = "".join(path.read_text(errors="replace") for path in demo.home.glob("logs/*.log"))
    assert logs
    for secret in (*(demo.facts[f"{who}_key"] for who in ("public", "researcher", "admin")),):
        assert secret not in logs
        assert secret.split("_")[3] not in logs
    assert "capital of France" not in logs
    assert "sailor" not in logs


def test_the_engines_dashboard_asks_for_what_a_real_engine_says(demo: Demo):
    ask(demo, "public")
    time.sleep(KEEP_SECONDS)
    text = httpx.get(f"{demo.root}/metrics/engines").text
    said = {line.partition("{")[0] for line in text.splitlines() if not line.startswith("#")}
    queries = " ".join(query.expr for panel in ENGINES.panels for query in panel.queries)
    assert set(re.findall(r"vllm:\w+", queries)) - said == set()
    # The stand-in that other tests use has its names and labels from here.
    for line in VllmMetrics().render().decode().splitlines():
        name, _, labels = line.partition("{")
        if line.startswith("vllm:") and not name.endswith("_created"):
            assert name in said, name
            real = next(one for one in text.splitlines() if one.startswith(name + "{"))
            assert set(re.findall(r'(\w+)="', labels)) <= set(re.findall(r'(\w+)="', real))
    for digest in demo.digests().values():
        assert f'checkpoint="{digest}"' in text


def test_metrics_count_doors_and_no_violation(demo: Demo):
    digests = demo.digests()
    for tier, label in (("public", "unlearned"), ("researcher", "base")):
        row = (
            f'airlock_routed_total{{requested_model="smollm2",'
            f'served_checkpoint="{digests[label]}",tier="{tier}"}}'
        )
        assert demo.metric(row) > 0, row
    wrong = f'served_checkpoint="{digests["base"]}",tier="public"'
    assert wrong not in httpx.get(f"{demo.root}/metrics").text
    assert demo.metric("airlock_tier_violation_total") == 0
    assert demo.metric("airlock_time_to_first_token_seconds_count") > 0
    assert demo.metric("airlock_tokens_total") > 0
