"""Two gateways under load in which everything happens that the dashboards show."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.cli.tables import in_transaction
from gateway.contents.holder import make_holder
from gateway.controlplane.backup import record_backup
from gateway.controlplane.changes import Tag
from gateway.setting_types import IssuerSetting
from gateway.settings import Settings
from models.fingerprint import Answer, Fingerprint
from models.store import CheckpointStore
from tests.fakes.provider import AUDIENCE, FakeProvider
from tests.fakes.receiver import Receiver
from tests.fakes.tls import tls_server
from tests.gateway.conftest import Running, run_gateway
from tests.gateway.controlplane.workflow import Workflow
from tests.gateway.dataplane.batches import driving
from tests.models.checkpoints import PROFILE, put_base
from tests.servers import free_port, serving, wait_for

SERVE = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())"]
CHAT = "/v1/chat/completions"
CHOSEN = {
    "$__rate_interval": "10s",
    "$__range": "1m",
    "$alias": ".*",
    "$tier": ".*",
    "$checkpoint": ".*",
}
"""What stands in the place of the dashboards' variables."""


def chosen(expr: str) -> str:
    """Return a panel's query as Grafana would ask it."""
    for name, value in CHOSEN.items():
        expr = expr.replace(name, value)
    return expr


@dataclass
class Stage:
    """Two gateways on one database: one in this process, one in its own."""

    running: Running
    second: str
    provider: FakeProvider
    answered: int = 0
    """How many requests both have answered, whatever the answer was."""
    is_over: threading.Event = field(default_factory=threading.Event)
    faults: list[BaseException] = field(default_factory=list)

    @property
    def targets(self) -> list[str]:
        """Both, as Prometheus names them."""
        return [url.removeprefix("http://") for url in (self.running.url, self.second)]

    def ask(self, client: httpx.Client, url: str, who: str, **extra) -> None:
        """Ask, and count the answer."""
        message = {"role": "user", "content": "What is the capital of France?"}
        body = {"model": "smollm2", "messages": [message], **extra}
        headers = {"authorization": f"Bearer {self.running.keys.get(who, who)}"}
        client.post(url + CHAT, json=body, headers=headers)
        self.answered += 1

    def load(self) -> None:
        """Ask both gateways, each in every way, until it is over."""
        token = self.provider.token()
        try:
            with httpx.Client(timeout=30) as client:
                for number in itertools.count():
                    if self.is_over.is_set():
                        return
                    for url in (self.running.url, self.second):
                        self.ask(client, url, "public", stream=True)
                        self.ask(client, url, "researcher", logit_bias={"5": 1})
                        if number % 10 == 0:
                            self.ask(client, url, "limited")
                            self.ask(client, url, "public", model="smollm2:base")
                            self.ask(client, url, "nobody")
                            self.ask(client, url, "elsewhere")
                            self.ask(client, url, token)
                    time.sleep(0.2)
        except BaseException as error:
            self.faults.append(error)
            raise


@contextlib.contextmanager
def set_up(settings: Settings) -> Iterator[Stage]:
    """Start both gateways, with an issuer that is down and a certificate that ends some day."""
    store = CheckpointStore(settings.home / "store")
    fingerprint = Fingerprint(
        checkpoint=put_base(store, b"base").digest,
        profile=PROFILE.document_digest,
        answers=(Answer(prompt="One, two,", tokens=(5, 6, 7)),),
    )
    provider = FakeProvider()
    provider.url = f"http://127.0.0.1:{free_port()}"
    lab = IssuerSetting(name="lab", issuer=provider.url, audience=AUDIENCE)
    ends_at = datetime.now(UTC) + timedelta(days=60)
    holder = settings.home / "holder.pub"
    holder.write_text(make_holder(settings.home / "holder.pem", None))
    with (
        serving(Receiver(), lifespan="off") as receiver,
        tls_server(settings.home, ends_at) as port,
        run_gateway(
            settings,
            {"base": {"fingerprint": fingerprint}},
            public_url=f"https://localhost:{port}",
            issuers=(lab,),
            census_seconds=0.5,
            contents_key_file=holder,
            keep_contents="base",
            webhook_hosts=(urlsplit(receiver).netloc,),
            webhook_private=True,
            notice_poll_seconds=0.2,
        ) as running,
        second_gateway(running.settings) as second,
    ):
        running.keys["limited"] = limited_key(running)
        running.keys["elsewhere"] = key_of_elsewhere(running)
        hook = running.admin("POST", "/webhooks", json={"url": f"{receiver}/hook"})
        assert hook.status_code == 201, hook.text
        yield Stage(running, second, provider)


def limited_key(running: Running) -> str:
    """The key of somebody whose tier allows one request a minute."""
    person = {"name": "Lim", "organisation": "o", "tier": "operator"}
    person_id = running.admin("POST", "/people", json=person).json()["id"]
    running.change_tier("operator", requests_per_minute=1)
    key = running.admin("POST", "/keys", json={"person_id": person_id}).json()
    return str(key["key"])


def key_of_elsewhere(running: Running) -> str:
    """A key that may be used from another address only."""
    given = {"person_id": running.people["public"], "addresses": ["192.0.2.1/32"]}
    return str(running.admin("POST", "/keys", json=given).json()["key"])


@contextlib.contextmanager
def second_gateway(settings: Settings) -> Iterator[str]:
    """Run `airlock serve` on the same database; yield its address."""
    port = free_port()
    engines = [json.loads(engine.model_dump_json()) for engine in settings.engines]
    issuers = [json.loads(issuer.model_dump_json()) for issuer in settings.issuers]
    environment = {
        "AIRLOCK_SECRET_FILE": str(settings.secret_file),
        "AIRLOCK_ENGINES": json.dumps(engines),
        "AIRLOCK_ISSUERS": json.dumps(issuers),
        "AIRLOCK_PROBE_SECONDS": "0.2",
        "AIRLOCK_CENSUS_SECONDS": "0.5",
        "AIRLOCK_LOG_LEVEL": "debug",
    }
    if settings.database_url is not None:
        environment["AIRLOCK_DATABASE_URL"] = settings.database_url
    home, url = settings.home, f"http://127.0.0.1:{port}"
    with (home / "second.log").open("wb") as log:
        process = subprocess.Popen(
            [*SERVE, "--home", str(home), "serve", "--port", str(port)],
            env=os.environ | environment,
            cwd=Path(__file__).resolve().parents[3],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: is_ready(url), 60)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz").status_code == 200
    return False


@contextlib.contextmanager
def under_load(stage: Stage) -> Iterator[None]:
    """Have both gateways asked all the time."""
    thread = threading.Thread(target=stage.load, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stage.is_over.set()
        thread.join(60)
        assert not stage.faults


def let_everything_happen(stage: Stage) -> None:
    """A backup, an application, a batch, a closed door, a cut stream, a bad engine and more."""
    running = stage.running
    in_transaction(running.settings, back_up)
    given = {"person_id": running.people["researcher"], "domain": "capitals", "reason": "r"}
    grant = running.admin("POST", "/grants", json=given).json()["id"]
    why = {"reason": "a test"}
    assert running.admin("POST", f"/grants/{grant}/suspend", json=why).status_code == 200
    workflow = Workflow(running)
    workflow.verify()
    workflow.to_grant()
    batch = driving.create(running, "public", [driving.line(n) for n in range(2)])
    door = {"domain": "rivers", "reason": "a test"}
    assert running.admin("POST", "/closures", json=door).status_code == 201
    leave_and_be_cut(running)
    running.engines["unlearned"].mode = "500"
    assert running.chat("public", user="somebody else").status_code == 502
    running.engines["unlearned"].mode = "ok"
    stage.answered += 1
    driving.ended(running, "public", batch)


async def back_up(session: AsyncSession) -> None:
    """Enter a backup that was made, and verified."""
    now = datetime.now(UTC)
    for tag in (Tag.BACKUP_MADE, Tag.BACKUP_VERIFIED):
        await record_backup(session, tag, now, actor="test", now=now)


def leave_and_be_cut(running: Running) -> None:
    """Leave one stream, and have another one cut by revoking its key."""
    engine = running.engines["unlearned"]
    person = {"person_id": running.people["public"]}
    key = running.admin("POST", "/keys", json=person).json()
    body = {"model": "smollm2", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"authorization": f"Bearer {key['key']}"}
    url = running.url + CHAT
    running.wait_until_seen()
    engine.delay_seconds, engine.tokens = 0.05, 60
    with httpx.stream("POST", url, json=body, headers=headers) as left:
        next(left.iter_bytes())
    with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as cut:
        chunks = cut.iter_bytes()
        next(chunks)
        answer = running.admin("POST", f"/keys/{key['id']}/revoke")
        assert answer.status_code == 200, answer.text
        assert b"grant_revoked" in b"".join(chunks)
    engine.delay_seconds, engine.tokens = 0.0, 4
    wait_for(lambda: running.metric("airlock_streams_cut_total") == 1)
    wait_for(lambda: running.metric("airlock_client_disconnects_total") == 1)
