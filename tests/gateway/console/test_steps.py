"""Steps in the console when something comes between: other tabs, other people, lost answers."""

import pytest
from playwright.sync_api import expect

from tests.gateway.console.reading import Reader

ME = "fetch('/admin/v1/me').then(answer => answer.json())"
ANEW = "import('/console/pages.js').then(pages => pages.reload())"


def end_logins(running, reader: Reader) -> None:
    """Log somebody out from elsewhere."""
    person = reader.page.evaluate(ME)["person_id"]
    assert running.admin("DELETE", f"/people/{person}/sessions").is_success


def test_a_step_takes_nothing_that_is_typed_in_another_form(opened):
    gus = opened("gus").log_in("lab").go("/evidence", "Your evidence")
    domain = gus.page.locator("form#add-evidence [name=domain]")
    expect(domain).to_be_hidden()
    gus.fills("institution-mail", email="gus@lab.example")
    gus.fills("add-evidence", kind="training", domain="capitals", source="the registrar").click()
    expect(gus.section("What is known of you")).to_contain_text("the registrar")
    expect(gus.page.locator("form#institution-mail [name=email]")).to_have_value("gus@lab.example")
    expect(gus.page.locator("form#add-evidence [name=source]")).to_have_value("")
    expect(gus.page.locator("main")).to_be_focused()


def test_what_is_typed_outlives_a_login_of_its_author_alone(running, opened):
    hal = opened("hal").log_in("lab").go("/evidence", "Your evidence")
    source = hal.page.locator("form#add-evidence [name=source]")
    for author, provider, then in (("hal", "lab", "the dean"), ("ina", "board", "")):
        add = hal.fills("add-evidence", kind="training", domain="capitals", source="the dean")
        end_logins(running, hal)
        add.click()
        hal.sees("Log in")
        hal.person = author
        hal.prove(None)
        hal.page.get_by_role("link", name=f"Log in by {provider}").click()
        hal.sees("Your evidence")
        expect(hal.page.get_by_text(f"Person {author}")).to_be_visible()
        expect(source).to_have_value(then)
        expect(hal.page.locator("[name=domain]")).to_be_visible(visible=bool(then))


def test_a_page_of_before_is_not_shown_to_whoever_goes_back_to_it(running, opened):
    jim = opened("jim").log_in("lab")
    end_logins(running, jim)
    jim.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    jim.sees("Log in")
    expect(jim.page.get_by_text("Person jim")).to_have_count(0)


def test_a_login_in_another_tab_takes_nothing_from_this_one(opened):
    kim = opened("kim").log_in("lab").go("/evidence", "Your evidence")
    other = kim.context.new_page()
    other.goto(f"{kim.url}/login/lab?step_up=true")
    expect(other.get_by_role("heading", level=1, name="Your access")).to_be_visible()
    kim.fills("add-evidence", source="the registrar").click()
    expect(kim.section("What is known of you")).to_contain_text("the registrar")
    kim.person = "lou"
    kim.prove(None)
    other.goto(f"{kim.url}/login/board")
    expect(other.get_by_text("Person lou, The Board")).to_be_visible()
    kim.fills("add-evidence", source="not lou's").click()
    expect(kim.page.get_by_text("Person lou, The Board")).to_be_visible()
    expect(kim.section("What is known of you")).to_have_text("What is known of youNone yet.")
    expect(kim.page.locator("form#add-evidence [name=source]")).to_have_value("")
    other.get_by_role("button", name="Log out").click()
    kim.sees("Log in")


def test_a_step_whose_answer_is_lost_is_done_once(opened):
    """Also the one that shows a key, which nobody could show again."""
    max_ = opened("max").log_in("lab", strongly=True).go("/keys", "Your keys")
    max_.fills("make-key", label="notebook").click()
    max_.page.get_by_role("button", name="Close").click()
    expect(max_.page.locator("main")).to_be_focused()

    def lose(route):
        route.fetch()
        route.abort()

    max_.page.route("**/rotate", lose, times=1)
    rotate = max_.page.get_by_role("button", name="Rotate")
    rotate.click()
    expect(max_.page.get_by_text("The gateway does not answer.")).to_be_visible()
    expect(rotate).to_be_focused()
    rotate.click()
    expect(max_.page.locator("#new-key")).to_contain_text("_")
    max_.page.get_by_role("button", name="Close").click()
    keys = max_.section("Keys").get_by_role("row").filter(has_text="notebook")
    expect(keys).to_have_count(2)
    old = keys.filter(has_text="has a successor")
    expect(old.get_by_role("button", name="Rotate")).to_have_count(0)
    old.get_by_role("button", name="Revoke").click()
    expect(keys.filter(has_text="revoked")).to_have_count(1)


def test_what_fails_to_load_is_asked_for_again(opened):
    ned = opened("ned").log_in("lab").go("/evidence", "Your evidence")
    ned.fills("institution-mail", email="ned@lab.example")
    ned.context.set_offline(True)
    ned.page.evaluate(ANEW)
    ned.sees("This did not work")
    ned.context.set_offline(False)
    ned.page.get_by_role("button", name="Try again").click()
    ned.sees("Your evidence")
    expect(ned.page.locator("form#institution-mail [name=email]")).to_have_value("ned@lab.example")


def test_who_opens_is_another_than_who_asked(running, board):
    closed = running.admin("POST", "/closures", json={"domain": "waves", "reason": "To look."})
    assert closed.is_success
    for who in ("dan", "app"):
        row = board[who].go("/doors", "Doors").section("Closed doors").get_by_role("row")
        lift = row.filter(has_text="waves").get_by_text("Lift", exact=True)
        expect(lift).to_have_count(int(who == "app"))
    app = board["app"]
    lift.click()
    app.fills(f"lift-{closed.json()['id']}", reason="It was nothing.").click()
    asked = app.section("Openings").get_by_role("row").filter(has_text="closure of waves")
    expect(asked).to_contain_text("waits for another person")
    expect(asked.get_by_role("button")).to_have_count(0)


@pytest.mark.parametrize(
    ("zone", "today"), [("America/Los_Angeles", "2029-12-31"), ("Asia/Tokyo", "2030-01-01")]
)
def test_today_is_the_readers(opened, zone, today):
    oda = opened("oda", timezone_id=zone)
    oda.page.goto(f"{oda.url}/console/")
    oda.sees("Log in")
    oda.page.clock.set_fixed_time("2030-01-01T03:00:00Z")
    assert oda.page.evaluate("import('/console/forms.js').then(it => it.dateIn(0))") == today
