"""What `/metrics` says of requests, engines and the gateway itself."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from gateway.app import create_app
from gateway.dataplane.catalogue import EngineAddress
from gateway.dataplane.engine_metrics import KEEP_SECONDS, Families, take
from gateway.errors import ConfigurationError
from tests.gateway.conftest import Running, make_settings, run_gateway
from tests.servers import serving, wait_for

ENGINE = EngineAddress("http://e:1", "sha256:" + "a" * 64, "k", None)
OTHER = EngineAddress("http://f:1", "sha256:" + "a" * 64, "k", None)


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    """A gateway with little room and little patience."""
    home = tmp_path_factory.mktemp("gateway")
    changes = {"engine_max_in_flight": 1, "queue_seconds": 0.2}
    patience = {"breaker_failures": 100, "idle_timeout_seconds": 0.5}
    with run_gateway(make_settings(request, home, "sqlite"), **changes, **patience) as made:
        yield made


def test_a_requests_time_is_split_into_overhead_queue_and_upstream(running: Running):
    names = ("overhead", "queue", "upstream", "request_duration")
    before = {name: running.metric(f"airlock_{name}_seconds_sum") for name in names}
    running.engines["unlearned"].delay_seconds = 0.02
    for stream in (True, False):
        assert running.chat("public", stream=stream).status_code == 200
    after = {name: running.metric(f"airlock_{name}_seconds_sum") for name in names}
    spent = {name: after[name] - before[name] for name in names}
    parts = spent["overhead"] + spent["queue"] + spent["upstream"]
    assert parts == pytest.approx(spent["request_duration"], rel=0.01)
    assert spent["upstream"] > 0.15  # Twice four tokens, 20 ms each.
    assert min(spent.values()) > 0


def test_the_time_between_tokens_is_measured_in_streams_alone(running: Running):
    names = ("count", "sum")
    before = [running.metric(f"airlock_inter_token_seconds_{name}") for name in names]
    running.engines["unlearned"].delay_seconds = 0.02
    running.chat("public", stream=True)
    running.chat("public")
    count, seconds = (
        running.metric(f"airlock_inter_token_seconds_{name}") - was
        for name, was in zip(names, before, strict=True)
    )
    assert count == 1
    assert seconds > 0.015


def test_a_request_that_waits_for_an_engine_counts_as_queued(running: Running):
    engine = running.engines["unlearned"]
    engine.delay_seconds, engine.tokens = 0.2, 40
    waited = 'airlock_queue_seconds_sum{alias="smollm2:unlearned"'
    message = {"role": "user", "content": "x"}

    def is_queued() -> bool:
        # On a busy machine somebody may be refused for another reason, without having waited.
        return running.chat("public").status_code == 503 and running.metric(waited) > 0.2

    with httpx.stream(
        "POST",
        f"{running.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {running.keys['public']}"},
        json={"model": "smollm2", "messages": [message], "stream": True},
    ) as first:
        assert first.status_code == 200
        assert wait_for(is_queued)


def test_an_engines_faults_are_counted_by_their_kind(running: Running):
    engine, url = running.engines["unlearned"], running.settings.engines[1].url
    for mode, kind in (("500", "failed"), ("stall", "timeout")):
        labels = f'checkpoint="{engine.digest}",kind="{kind}",url="{url}"'
        series = f"airlock_engine_errors_total{{{labels}}}"
        assert f"{series} 0.0" in httpx.get(f"{running.url}/metrics").text
        engine.mode = mode
        # Another text each: one under which an engine failed is held back.
        assert running.chat("public", user=mode).status_code in (502, 504)
        assert running.metric(series) == 1
    engine.mode = "ok"


def test_limits_say_which_of_them_turned_a_request_away(running: Running):
    running.change_tier("researcher", requests_per_minute=1)
    running.wait_until_seen()
    assert [running.chat("researcher").status_code for _ in range(2)] == [200, 429]
    running.change_tier("researcher", requests_per_minute=1000, tokens_per_day=1)
    running.wait_until_seen()
    assert running.chat("researcher").status_code == 429
    for kind in ("requests per minute", "tokens per day"):
        assert running.metric(f'airlock_rate_limited_total{{kind="{kind}"}}') == 1


def test_nobody_makes_new_series_by_asking_for_what_is_not_there(running: Running):
    def series() -> set[str]:
        text = httpx.get(f"{running.url}/metrics").text
        return {line.rsplit(" ", 1)[0] for line in text.splitlines() if line[0] != "#"}

    running.chat("public", model="nothing-1")
    running.chat("nobody")
    before = series()
    for number in range(6):
        running.chat("public", model=f"nothing-{number}")
        running.chat(f"nobody-{number}")
        httpx.get(f"{running.url}/v1/{number}")
        httpx.get(f"{running.url}/{number}")
    # A path that is not there has an outcome of its own, once.
    assert {one for one in series() - before if 'outcome="NotFoundError"' not in one} == set()


def test_metrics_can_ask_for_a_token(request, tmp_path):
    token = tmp_path / "token"
    token.write_text("let-me-see\n")
    settings = make_settings(request, tmp_path, "sqlite", metrics_token_file=token)
    with serving(create_app(settings), lifespan="off") as url:
        for path in ("/metrics", "/metrics/engines"):
            for given in (None, "Bearer", "Bearer let-me", "let-me-see", "Bearer é"):
                headers = {} if given is None else {"authorization": given.encode()}
                answer = httpx.get(url + path, headers=headers)
                assert answer.status_code == 401, given
                assert answer.json()["error"]["code"]
            good = httpx.get(url + path, headers={"authorization": "Bearer let-me-see"})
            assert good.status_code == 200
        assert httpx.get(f"{url}/healthz").status_code == 200


def test_an_empty_token_is_no_token(request, tmp_path):
    token = tmp_path / "token"
    token.write_text("\n")
    settings = make_settings(request, tmp_path, "sqlite", metrics_token_file=token)
    with pytest.raises(ConfigurationError, match="token is empty"):
        create_app(settings)


def test_engines_metrics_come_through_the_gateway_and_say_whose_they_are(running: Running):
    running.chat("public")
    running.chat("researcher")
    time.sleep(KEEP_SECONDS)
    text = httpx.get(f"{running.url}/metrics/engines").text
    for setting in running.settings.engines:
        labels = f'url="{setting.url}",checkpoint="{setting.digest}"'
        name = 'vllm:request_success_total{engine="0",finished_reason="stop",'
        (line,) = (line for line in text.splitlines() if labels in line and name in line)
        assert float(line.rsplit(" ", 1)[1]) >= 1
    assert text.count("# TYPE vllm:request_success_total counter") == 1


def test_an_engine_is_asked_once_a_second_however_many_ask(running: Running):
    time.sleep(KEEP_SECONDS)
    engine = running.engines["base"]
    before = engine.scrapes
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.get(f"{running.url}/metrics/engines"), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert 1 <= engine.scrapes - before < 16


def test_an_engine_that_says_no_metrics_leaves_the_others(running: Running):
    time.sleep(KEEP_SECONDS)
    running.engines["base"].metrics_text = b"\xff not metrics \x00"
    try:
        text = httpx.get(f"{running.url}/metrics/engines").text
    finally:
        running.engines["base"].metrics_text = b""
    assert running.engines["unlearned"].digest in text
    assert running.engines["base"].digest not in text


LIES = {
    "the gateway's own metric": "# TYPE airlock_tier_violation_total counter\n"
    "airlock_tier_violation_total 1",
    "another engine's address": '# TYPE vllm:x gauge\nvllm:x{url="http://other"} 1',
    "no type": "vllm:x 1",
    "a value that is none": "# TYPE vllm:x gauge\nvllm:x one",
    "two lines in one": '# TYPE vllm:x gauge\nvllm:x{a="b"} 1\rairlock_up 1',
    "an open label": '# TYPE vllm:x gauge\nvllm:x{a="b} 1',
    "a type that is none": "# TYPE vllm:x joke\nvllm:x 1",
    "after another's type": "# TYPE vllm:x gauge\n# TYPE process_x gauge\nvllm:x 1",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_engine_says_nothing_but_its_own_metrics(lie):
    families: Families = {}
    take(lie, ENGINE, families)
    assert [sample for _, samples in families.values() for sample in samples] == []


def test_two_engines_share_a_family():
    families: Families = {}
    for address in (ENGINE, OTHER):
        take('# TYPE vllm:x gauge\nvllm:x{a="b\\"c",} 1e-05\nvllm:x NaN', address, families)
    kind, samples = families["vllm:x"]
    assert kind == "# TYPE vllm:x gauge"
    labels = f'url="http://e:1",checkpoint="{ENGINE.digest}"'
    assert samples[:2] == [f'vllm:x{{a="b\\"c",{labels}}} 1e-05', f"vllm:x{{{labels}}} NaN"]
    assert len(samples) == 4


def test_the_admin_apis_answers_carry_the_id_of_their_log_lines(running: Running):
    ids = {running.admin("GET", "/people").headers["x-request-id"] for _ in range(2)}
    ids.add(httpx.get(f"{running.url}/admin/v1/nothing").headers["x-request-id"])
    assert len(ids) == 3
    assert all(one.startswith("req_") for one in ids)
