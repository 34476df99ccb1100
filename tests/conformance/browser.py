"""A real identity provider in a process of its own, and a browser that logs in by it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.conformance.door import NODE, node_with_packages

SECRET = "the-client-secret"


@contextmanager
def provider(gateway: str, name: str = "lab") -> Iterator[str]:
    """Run the provider for a gateway; yield its issuer."""
    words = [f"{gateway}/login/{name}/callback", f"{gateway}/login/{name}/logout"]
    process = subprocess.Popen(
        [node_with_packages(), "provider.mjs", SECRET, *words],
        cwd=NODE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@dataclass
class Browser:
    """Follows redirects between the gateway and its provider, with the cookies of both.

    It takes `Secure` cookies over loopback, as browsers do.
    """

    gateway: str
    cookies: dict[str, str] = field(default_factory=dict)
    issuer: str = "lab"
    """By which of the gateway's issuers it logs in."""
    set_cookies: list[str] = field(default_factory=list)
    elsewhere: httpx.Cookies = field(default_factory=httpx.Cookies)
    csrf: str = ""

    def request(self, method: str, path: str, **kwargs) -> httpx.Response:
        headers = {"cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        headers |= kwargs.pop("headers", {})
        answer = httpx.request(
            method,
            self.gateway + path,
            headers=headers,
            timeout=30,
            follow_redirects=False,
            **kwargs,
        )
        for line in answer.headers.get_list("set-cookie"):
            self.set_cookies.append(line)
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            if not value:
                del self.cookies[name]
        return answer

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def change(self, method: str, path: str, **kwargs) -> httpx.Response:
        """Make a change as a page of the gateway's own would."""
        headers = {"origin": self.gateway, "x-csrf-token": self.csrf}
        return self.request(method, path, headers=headers | kwargs.pop("headers", {}), **kwargs)

    def at_provider(self, method: str, address: str, **kwargs) -> httpx.Response:
        answer = httpx.request(method, address, cookies=self.elsewhere, timeout=30, **kwargs)
        self.elsewhere.extract_cookies(answer)
        return answer

    def visit_provider(self, address: str, person: str, acr: str | None = None) -> str:
        """Log in at the provider; return the path that it sends the browser back to."""
        headers = {"x-person": person} | ({"x-acr": acr} if acr else {})
        for _ in range(10):
            answer = self.at_provider("GET", address, headers=headers)
            assert answer.is_redirect, answer.text
            address = str(httpx.URL(address).join(answer.headers["location"]))
            if address.startswith(self.gateway):
                return address.removeprefix(self.gateway)
        raise AssertionError("the provider goes in circles")

    def log_in(self, person: str, acr: str | None = None, query: str = "") -> httpx.Response:
        begun = self.get(f"/login/{self.issuer}{query}")
        assert begun.status_code == 303, begun.text
        answer = self.get(self.visit_provider(begun.headers["location"], person, acr))
        if answer.status_code == 303:
            self.csrf = self.get("/admin/v1/me").json()["csrf_token"]
        return answer


def query_of(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
