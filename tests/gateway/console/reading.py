"""People who read the console in a real browser, Debian's Chromium, driven by Playwright."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
MFA = "urn:mfa"
expect.set_options(timeout=20_000)  # Of milliseconds: other tests use the processors, too.


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser; its tests are skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not there: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Reader:
    """Somebody with a browser of their own; `problems` is what their pages complained of."""

    person: str
    url: str
    context: BrowserContext
    page: Page
    problems: list[str]

    @classmethod
    def open(
        cls, browser: Browser, url: str, person: str, acr: str | None = MFA, **given
    ) -> "Reader":
        """Open a browser, whose provider knows by a header who sits there and how they log in."""
        context = browser.new_context(locale="en-GB", **given)
        page = context.new_page()
        reader = cls(person, url, context, page, [])
        reader.prove(acr)
        page.on("pageerror", lambda error: reader.problems.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.on(
            "console",
            lambda said: (
                reader.problems.append(said.text)
                if said.type in ("error", "warning") and "Failed to load resource" not in said.text
                else None
            ),
        )
        return reader

    def prove(self, acr: str | None) -> None:
        """Say how the next login goes."""
        headers = {"x-person": self.person} | ({"x-acr": acr} if acr else {})
        self.context.set_extra_http_headers(headers)

    def log_in(self, provider: str, *, strongly: bool = False) -> "Reader":
        """Log in from the first page, or by the address that takes a strong proof."""
        if strongly:
            self.page.goto(f"{self.url}/login/{provider}?step_up=true")
        else:
            self.page.goto(self.url)
            self.page.get_by_role("link", name=f"Log in by {provider}").click()
        self.sees("Your access")
        return self

    def proves_again(self, provider: str) -> None:
        """Log in for the step that the page has refused."""
        link = self.page.get_by_role("dialog").get_by_role("link")
        expect(link).to_have_text(f"Log in by {provider}")
        link.click()
        expect(self.page.get_by_role("dialog")).to_have_count(0)
        self.page.wait_for_url(re.compile("/console/"))

    def go(self, hash_: str, heading: str | None = None) -> "Reader":
        """Go to a page of the console, as it is now."""
        self.page.goto(f"{self.url}/console/#{hash_}")
        self.page.reload()
        if heading:
            self.sees(heading)
        return self

    def sees(self, heading: str) -> None:
        """Wait for a page."""
        expect(self.page.get_by_role("heading", level=1, name=heading)).to_be_visible()

    def section(self, title: str) -> Locator:
        """Return a part of the page."""
        title_of = self.page.get_by_role("heading", level=2, name=title, exact=True)
        return self.page.locator("section").filter(has=title_of)

    def fills(self, form: str, **values: str | bool) -> Locator:
        """Fill a form in; return its button."""
        made = self.page.locator(f"form#{form}")
        for name, value in values.items():
            field = made.locator(f"[name={name}]")
            if isinstance(value, bool):
                field.set_checked(value)
            elif field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)
        return made.get_by_role("button")

    def is_at(self, state: str) -> None:
        """Wait until the application of the page is where it should be."""
        expect(self.page.locator("[aria-current=step]")).to_have_text(state)

    def application(self) -> str:
        """Return the id in the address of an application's page."""
        self.page.wait_for_url(re.compile("#/application/"))
        return self.page.url.rpartition("/")[2]


NAMES = {
    "federation": "Login by my institution",
    "training": "Training, for a domain (capitals)",
    "approval_letter": "Approval of a committee, for a domain (capitals)",
}


def hand_in(ada: Reader) -> str:
    """Add evidence, apply and hand it in; return the application's id."""
    ada.go("/evidence", "Your evidence")
    for kind, name in NAMES.items():
        domain = {"domain": "capitals"} if "capitals" in name else {}
        ada.fills("add-evidence", kind=kind, source="the registrar", **domain).click()
        expect(ada.section("What is known of you")).to_contain_text(name)
    ada.go("/apply", "Apply for access")
    given = {"purpose": "To <b>measure</b>", "project": "P", "oversight_ref": "IRB 1"}
    ada.fills("apply", domains="capitals", **given).click()
    application = ada.application()
    ada.page.get_by_role("button", name="Hand it in").click()
    ada.is_at("submitted")
    return application


def accept_evidence(ivy: Reader) -> None:
    """Accept what the page of an application shows."""
    for kind, name in NAMES.items():
        row = ivy.section("The applicant's evidence").get_by_role("row").filter(has_text=name)
        row.get_by_text("Accept").first.click()
        row.locator("[name=asserted_by]").select_option("so" if kind != "federation" else "system")
        row.locator("[name=no_conflict]").check()
        row.get_by_role("button", name="Accept").click()
        if kind == "federation":  # The first step that takes a strong login; it is typed once.
            ivy.proves_again("board")
            row.get_by_role("button", name="Accept").click()
        expect(row).to_contain_text("accepted")


def judge(reader: Reader, application: str, decision: str) -> None:
    reader.go(f"/application/{application}", "Application for capitals")
    reader.fills("judgement", decision=decision, rationale="as seen", no_conflict=True).click()
