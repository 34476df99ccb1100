"""A gateway with a mail server and a program that takes webhooks, on each kind of database."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fakes.mail_server import MailServer, mail_server
from tests.fakes.receiver import Receiver
from tests.gateway.conftest import Running, make_settings, run_gateway
from tests.gateway.controlplane.workflow import Workflow
from tests.servers import PLAIN, free_port, serving, wait_for


@dataclass
class Office:
    """Everything that takes part in sending."""

    running: Running
    mail: MailServer
    receiver: Receiver
    receiver_url: str
    workflow: Workflow

    def call(self, who: str, method: str, path: str, **body) -> httpx.Response:
        return self.workflow.call(who, method, path, **body)

    def admin(self, method: str, path: str, **body) -> httpx.Response:
        return self.running.admin(method, path, **({"json": body} if body else {}))

    def confirm(self, email: str) -> httpx.Response:
        """Press the button of the page that a mailed link leads to."""
        text = wait_for(lambda: self.mail.text(email, "Confirm"))
        (link,) = re.findall(r"http://\S+/confirm-address/\S+", text)
        page = httpx.get(link, verify=PLAIN)
        assert page.status_code == 200, page.text
        return httpx.post(link, verify=PLAIN)

    def give_address(self, who: str) -> str:
        """Give a person an address that they have confirmed."""
        email = f"{who}@lab.example"
        if self.call(who, "GET", "/me/address").json()["email"] is None:
            answer = self.call(who, "PUT", "/me/address", email=email)
            assert answer.status_code == 202, answer.text
            assert self.confirm(email).status_code == 200
        return email

    def add_webhook(self, path: str = "/hook", **given) -> dict:
        answer = self.admin("POST", "/webhooks", url=f"{self.receiver_url}{path}", **given)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def notices(self, **query) -> list[dict]:
        return self.running.admin("GET", "/notices", params={"limit": 1000, **query}).json()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def office(request, tmp_path_factory) -> Iterator[Office]:
    home, port, receiver = tmp_path_factory.mktemp("office"), free_port(), Receiver()
    with ExitStack() as stack:
        mail = stack.enter_context(mail_server(home))
        url = stack.enter_context(serving(receiver, lifespan="off"))
        given = mail.settings(
            public_url=f"http://127.0.0.1:{port}",
            webhook_hosts=(urlsplit(url).netloc,),
            webhook_private=True,
            webhook_timeout_seconds=0.5,
        )
        settings = make_settings(request, home, request.param, **given)
        quick = {"notice_poll_seconds": 0.1, "notice_retry_seconds": 0.05}
        running = stack.enter_context(
            run_gateway(settings, port=port, notice_remind_seconds=0.1, **quick)
        )
        yield Office(running, mail, receiver, url, Workflow(running))


@pytest.fixture(autouse=True)
def well(request) -> Iterator[None]:
    """Leave the servers as they were."""
    yield
    if "office" in request.fixturenames:
        office = request.getfixturevalue("office")
        office.mail.mode, office.receiver.mode = "ok", "ok"
