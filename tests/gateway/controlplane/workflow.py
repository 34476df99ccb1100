"""People with roles and keys of their own, who take an application through the workflow."""

from datetime import UTC, datetime, timedelta

import httpx

from tests.servers import PLAIN, wait_for

NOW = datetime.now(UTC)
LATER = (NOW + timedelta(days=60)).isoformat()
ROLES = {
    "ada": [],
    "mate": ["identity_reviewer", "approver", "domain_reviewer:capitals"],
    "ivy": ["identity_reviewer"],
    "dan": ["domain_reviewer:capitals"],
    "app": ["approver"],
    "eve": ["domain_reviewer:rivers"],
    "rex": ["identity_reviewer", "approver", "domain_reviewer:capitals"],
    "nobody": [],
}
EVIDENCE = {
    "federation": (None, "system"),
    "training": ("capitals", "so"),
    "approval_letter": ("capitals", "so"),
}


class Workflow:
    """The people, their workflow keys, and the steps as they take them."""

    def __init__(self, running, tier="researcher") -> None:
        self.running = running
        self.people: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        for name, roles in ROLES.items():
            organisation = "The Lab" if name in ("ada", "mate") else "Board"
            person = self.admin(
                "POST", "/people", name=name, organisation=organisation, tier=tier
            ).json()["id"]
            self.people[name] = person
            self.admin("PUT", f"/people/{person}/roles", roles=roles)
            key = self.admin("POST", "/keys", person_id=person, workflow=True).json()
            assert key["key"].startswith("airlock_workflow_")
            self.keys[name] = key["key"]
        running.keys["ada"] = self.admin("POST", "/keys", person_id=self.people["ada"]).json()[
            "key"
        ]
        self.organisations = {
            row["name"]: row["id"] for row in self.admin("GET", "/organisations").json()
        }
        for name in ("The Lab", "Board"):
            self.organisation(name, "verified")
        self.terms = self.admin(
            "POST",
            "/terms",
            text="Be careful.",
            mandatory_from=(NOW - timedelta(days=1)).isoformat(),
        ).json()["digest"]

    def admin(self, method: str, path: str, **body) -> httpx.Response:
        given = {"json": body} if body else {}
        answer = self.running.admin(method, path, **given)
        assert answer.status_code in (200, 201), answer.text
        return answer

    def organisation(self, name: str, state: str) -> None:
        self.admin("PATCH", f"/organisations/{self.organisations[name]}", state=state)

    def call(self, who: str, method: str, path: str, **body) -> httpx.Response:
        return httpx.request(
            method,
            f"{self.running.url}/admin/v1{path}",
            headers={"authorization": f"Bearer {self.keys[who]}"},
            timeout=30,
            verify=PLAIN,
            **({"json": body} if body else {}),
        )

    def must(self, who: str, method: str, path: str, **body):
        answer = self.call(who, method, path, **body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def verify(self, expires_at: str = LATER) -> dict[str, str]:
        """Add and accept everything that a grant for capitals needs; return ids by kind."""
        found = {}
        for kind, (domain, by) in EVIDENCE.items():
            given = {"kind": kind, "source": "test", **({"domain": domain} if domain else {})}
            item = self.must("ada", "POST", "/evidence", **given)["id"]
            self.must("ivy", "POST", f"/evidence/{item}/accept", **acceptance(by, expires_at))
            found[kind] = item
        return found

    def apply(self, *domains: str) -> dict:
        return self.must("ada", "POST", "/applications", **content(*domains))

    def step(self, who: str, application: dict, step: str, **body) -> httpx.Response:
        body = {"digest": application["digest"], **body}
        return self.call(who, "POST", f"/applications/{application['id']}/{step}", **body)

    def judge(self, who: str, application: dict, decision: str, **body) -> httpx.Response:
        body = {"decision": decision, "rationale": "as seen", "no_conflict": True, **body}
        return self.step(who, application, "judgements", **body)

    def to_approval(self, application: dict) -> dict:
        for answer in (
            self.step("ada", application, "submit"),
            self.step("ivy", application, "take-up"),
            self.judge("ivy", application, "pass"),
            self.judge("dan", application, "pass"),
        ):
            assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == "approval"
        return answer.json()

    def to_approved(self) -> dict:
        """Take an application to where only its applicant's last step is missing."""
        application = self.to_approval(self.apply("capitals"))
        for who in ("dan", "app"):
            assert self.judge(who, application, "approve").status_code == 200
        return application

    def to_grant(self) -> dict:
        """Take an application all the way; return it with its grant."""
        application = self.to_approved()
        answer = self.step("ada", application, "grants", terms=self.terms)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def base(self) -> int:
        """The status of Ada's request to the base door, as of now.

        On a busy machine the gateway may not know for a moment: it says 503 then, and is asked
        again.
        """
        self.running.wait_until_seen()

        def status() -> int:
            answer = self.running.chat(self.running.keys["ada"], "smollm2:base")
            return 0 if '"not_ready"' in answer.text else answer.status_code

        return wait_for(status)


def content(*domains: str, **changes) -> dict:
    return {
        "domains": list(domains),
        "purpose": "to test",
        "project": "p",
        "oversight_ref": "IRB 1",
        **changes,
    }


def acceptance(by: str, expires_at: str = LATER) -> dict:
    return {
        "asserted_by": by,
        "asserted_at": (NOW - timedelta(days=1)).isoformat(),
        "expires_at": expires_at,
        "no_conflict": True,
    }
