"""The console in a real browser, on a real provider: what people do there, and what they see."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect
from sqlalchemy import update

from gateway.cli.tables import in_transaction
from gateway.tables import Grant
from tests.gateway.console.reading import accept_evidence, hand_in, judge


def test_from_a_stranger_to_a_key_that_reaches_base(running, board, opened):
    ada = opened("ada").log_in("lab")
    application = hand_in(ada)

    ivy = board["ivy"].go("/reviews", "Applications")
    ivy.section("To take up").get_by_role("link", name="Person ada").click()
    expect(ivy.page.get_by_text("To <b>measure</b>")).to_be_visible()
    accept_evidence(ivy)
    ivy.page.get_by_role("button", name="Take it up").click()
    ivy.is_at("identity review")
    judge(ivy, application, "pass")
    expect(ivy.page.get_by_text("the applicant's organisation is not verified")).to_be_visible()
    lab = board["root"].go("/people", "People").section("Organisations")
    lab = lab.get_by_role("row").filter(has_text="The Lab")
    lab.get_by_role("button", name="Verify").click()
    expect(lab).to_contain_text("verified")
    ivy.page.get_by_role("button", name="Say so").click()
    ivy.is_at("domain review")
    judge(board["dan"], application, "pass")
    board["dan"].is_at("approval")
    for who in ("dan", "app"):
        judge(board[who], application, "approve")
        expect(board[who].section("What was said of it")).to_contain_text("approve")
    board["app"].is_at("approved")

    ada.go(f"/application/{application}", "Application for capitals")
    expect(ada.page.get_by_text("Be careful.")).to_be_visible()
    ada.fills("acceptance", accepted=True).click()
    expect(ada.page.get_by_text("Members of the tier 'public' hold no grants")).to_be_visible()
    root = board["root"]
    root.page.get_by_role("link", name="Person ada").click()
    root.page.get_by_text("Change name, organisation or tier").click()
    root.fills("person", tier="researcher").click()
    expect(root.section("Who this is").get_by_text("researcher", exact=True)).to_be_visible()
    ada.fills("acceptance", accepted=True).click()
    expect(ada.section("Its grants").get_by_text("active")).to_be_visible()

    ada.go("/keys", "Your keys")
    ada.fills("make-key", label="notebook").click()
    ada.proves_again("lab")
    ada.page.get_by_role("button", name="Make a key").click()
    key = ada.page.locator("#new-key").inner_text()
    running.wait_until_seen()
    assert running.chat(key, "smollm2:base").status_code == 200
    ada.page.get_by_role("button", name="Close").click()
    ada.go("/", "Your access")
    expect(ada.section("What is open to you").get_by_text("active")).to_be_visible()
    ada.section("Terms of use").locator("summary").click()
    ada.page.get_by_role("button", name="Accept these terms").click()
    ada.page.get_by_role("dialog").get_by_role("button", name="Close").click()
    ada.fills("why", model="smollm2:base").click()
    expect(ada.page.get_by_text("covered by grants")).to_be_visible()

    dan = board["dan"].go("/doors", "Doors")
    dan.fills("close-door", domain="capitals", reason="It looks wrong.", sure=True).click()
    expect(dan.section("Closed doors")).to_contain_text("It looks wrong.")
    running.wait_until_seen()
    assert running.chat(key, "smollm2:base").status_code == 403
    dan.page.get_by_text("Close every door").first.click()
    dan.fills("close-every-door", reason="To be sure.", sure=True).click()
    expect(dan.section("Closed doors")).to_contain_text("every domain")


def test_what_people_call_themselves_is_text_on_every_page(running, board):
    name = "<img src=x onerror=alert(1)>"
    given = {"name": name, "organisation": f"{name} Ltd", "tier": "public"}
    person = running.admin("POST", "/people", json=given).json()["id"]
    root = board["root"].go("/people", "People")
    expect(root.page.get_by_role("link", name=name)).to_be_visible()
    root.go(f"/person/{person}", name)
    root.page.locator("summary", has_text="Change duties").click()
    duties = root.page.locator("form#roles [name=roles]")
    for typed in ("reviewer", "approver, domain_reviewer:bio.2,auditor", ""):
        duties.fill(typed)
        assert duties.evaluate("field => field.checkValidity()") == (typed != "reviewer")
    for page in ("log", "grants"):
        root.go(f"/{page}")
    assert root.page.locator("img").count() == 0


def test_a_grant_that_begins_later_is_not_called_active(running, board):
    given = {"person_id": running.people["researcher"], "domain": "lakes", "reason": "r"}
    grant = running.admin("POST", "/grants", json=given).json()["id"]
    later = update(Grant).where(Grant.id == grant)
    later = later.values(not_before=datetime.now(UTC) + timedelta(days=1))
    with ThreadPoolExecutor(1) as threads:  # The browser's own loop runs in this one.
        change = threads.submit(in_transaction, running.settings, lambda s: s.execute(later))
    change.result()
    root = board["root"].go("/grants", "Grants")
    row = root.section("Everybody's").get_by_role("row").filter(has_text="lakes")
    expect(row.get_by_text("begins later")).to_be_visible()


def test_a_long_list_comes_a_page_at_a_time(running, board):
    for number in range(60):
        given = {"name": f"One of many {number}", "organisation": "Many", "tier": "public"}
        assert running.admin("POST", "/people", json=given).is_success
    root = board["root"].go("/people", "People")
    rows = root.section("Who is known here").get_by_role("row")
    expect(rows).to_have_count(51)  # With its head.
    root.page.get_by_role("link", name="More").click()
    expect(root.page.get_by_role("link", name="Before")).to_be_visible()
    assert rows.count() < 51


def test_who_edits_beside_a_reviewer_is_not_judged_unread(running, board, opened):
    """Nobody approves what they have not read: the page says so, and shows what there is now."""
    cyn = opened("cyn").log_in("lab")
    cyn.go("/apply", "Apply for access")
    given = {"purpose": "one", "project": "P", "oversight_ref": "IRB 1"}
    cyn.fills("apply", domains="capitals", **given).click()
    application = cyn.application()
    other = cyn.context.new_page()
    other.goto(cyn.page.url)
    other.get_by_text("Edit", exact=True).click()
    other.locator("form#edit [name=purpose]").fill("two")
    other.get_by_role("button", name="Keep the edit").click()
    expect(other.get_by_text("two", exact=True).first).to_be_visible()
    cyn.page.get_by_role("button", name="Hand it in").click()
    expect(cyn.page.get_by_role("alert").filter(has_text="edited meanwhile")).to_be_visible()
    cyn.page.get_by_text("Edit", exact=True).click()
    cyn.fills("edit", purpose="of the first version")
    cyn.page.evaluate("import('/console/pages.js').then(pages => pages.reload())")
    expect(cyn.page.locator("form#edit [name=purpose]")).to_have_value("two")
    cyn.go(f"/application/{application}")
    cyn.page.get_by_role("button", name="Hand it in").click()
    cyn.is_at("submitted")


def test_who_is_logged_out_elsewhere_is_asked_to_log_in(running, opened):
    dot = opened("dot").log_in("lab").go("/keys", "Your keys")
    person = dot.page.evaluate("fetch('/admin/v1/me').then(r => r.json())")["person_id"]
    assert running.admin("DELETE", f"/people/{person}/sessions").is_success
    dot.fills("make-key", label="late").click()
    dot.sees("Log in")
    dot.page.get_by_role("link", name="Log in by lab").click()
    dot.sees("Your keys")
    dot.page.get_by_role("button", name="Log out").click()
    dot.sees("Log in")
    dot.go("/keys", "Log in")


def test_what_goes_wrong_is_said_where_it_was_asked(running, opened):
    eli = opened("eli").log_in("lab")
    eli.page.get_by_text("I have a code").click()
    eli.fills("first-administrator", code="000-000").click()
    expect(eli.page.get_by_role("alert").filter(has_text="code")).to_be_visible()
    eli.context.set_offline(True)
    eli.fills("why", model="smollm2").click()
    expect(eli.page.get_by_text("The gateway does not answer.")).to_be_visible()
    eli.context.set_offline(False)
    for hash_ in ("/none", "/%", "/application/none"):
        eli.go(hash_)
        expect(eli.page.get_by_role("heading", level=1)).to_have_text(
            "There is no such page" if hash_ == "/none" else "This did not work"
        )


def test_who_has_asked_too_much_is_told_when_to_go_on(running, opened, monkeypatch):
    gus, pace = opened("gus").log_in("lab"), running.gateway.http.state.control_plane.pace
    with monkeypatch.context() as patch:
        patch.setattr(pace, "_most", 0)
        gus.go("/keys", "This did not work")
        said = gus.page.get_by_role("alert")
        expect(said).to_have_text(re.compile(r"per minute\. Try again in \d+ seconds\.$"))
    pace._spent.clear()
    gus.go("/keys", "Your keys")


def test_an_auditor_sees_everything_and_is_offered_no_change(running, board, opened):
    aud = opened("aud").log_in("board")
    person = aud.page.evaluate("fetch('/admin/v1/me').then(r => r.json())")["person_id"]
    roles = {"roles": ["auditor"]}
    assert running.admin("PUT", f"/people/{person}/roles", json=roles).is_success
    for page in ("reviews", "doors", "people", "grants", "log"):
        aud.go(f"/{page}")
        expect(aud.page.locator("main table").first).to_be_visible()
        assert aud.page.locator("main button").all_inner_texts() == []
        assert "" not in aud.page.locator("main th").all_inner_texts()
    aud.go("/evidence", "Your evidence")
    assert aud.page.locator("main button").all_inner_texts() == []
    aud.go("/", "Your access")
    expect(aud.page.get_by_role("link", name="Apply for access")).to_have_count(0)


PAGES = ["", "apply", "evidence", "keys", "reviews", "doors", "people", "grants", "log"]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_can_be_read_aloud_and_on_a_small_screen(board, page):
    root = board["root"]
    root.page.set_viewport_size({"width": 360, "height": 740})
    root.go(f"/{page}")
    expect(root.page.get_by_role("heading", level=1)).to_have_count(1)
    unnamed = root.page.evaluate(
        "[...document.forms].flatMap(form => [...form.elements])"
        ".filter(field => field.name && !field.labels.length).length"
    )
    assert unnamed == 0
    assert root.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    root.page.set_viewport_size({"width": 1280, "height": 800})


def test_the_keyboard_goes_through_it(opened):
    fay = opened("fay").log_in("lab")
    fay.page.keyboard.press("Tab")
    skip = fay.page.get_by_role("link", name="Skip to the page")
    expect(skip).to_be_focused()
    skip.press("Enter")
    expect(fay.page.locator("main")).to_be_focused()
    assert "main" not in fay.page.url  # That would be a page, which there is not.
    fay.sees("Your access")
    fay.page.get_by_role("link", name="Your keys").press("Enter")
    fay.sees("Your keys")
    expect(fay.page.locator("main")).to_be_focused()
