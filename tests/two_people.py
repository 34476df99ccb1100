"""Two people who change tiers together, over HTTP, at any gateway."""

import httpx

from tests.servers import PLAIN


class TwoPeople:
    """A proposer and an approver, each with a workflow key of their own."""

    def __init__(self, url: str, admin_key: str) -> None:
        self.url = url
        self.admin_key = admin_key
        self.keys: dict[str, str] = {}
        self.people: dict[str, str] = {}
        for name, role in (("proposer", "operator"), ("approver", "approver")):
            given = {"name": name, "organisation": "Two People", "tier": "public"}
            person = self.call(admin_key, "POST", "/people", given)["id"]
            self.call(admin_key, "PUT", f"/people/{person}/roles", {"roles": [role]})
            key = {"person_id": person, "workflow": True}
            self.keys[name] = self.call(admin_key, "POST", "/keys", key)["key"]
            self.people[name] = person
        for row in self.call(admin_key, "GET", "/organisations?limit=1000"):
            if row["name"] == "Two People":
                path = f"/organisations/{row['id']}"
                self.call(admin_key, "PATCH", path, {"state": "verified"})

    def ask(self, key: str, method: str, path: str, body: dict | None = None) -> httpx.Response:
        given = {} if body is None else {"json": body}
        headers = {"authorization": f"Bearer {key}", "if-match": "*"}
        url = f"{self.url}/admin/v1{path}"
        return httpx.request(method, url, headers=headers, timeout=30, verify=PLAIN, **given)

    def call(self, key: str, method: str, path: str, body: dict | None = None):
        answer = self.ask(key, method, path, body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def change_tier(self, tier: str, **change) -> dict:
        """Change a tier, or make one; return the change once it is in force."""
        given = {"tier": tier, "change": change, "reason": "a test"}
        path = "/tier-changes?dry_run=false"
        made = self.call(self.keys["proposer"], "POST", path, given)["change"]
        if made["version"] is not None:
            return made
        approval = {"digest": made["digest"]}
        path = f"/tier-changes/{made['id']}/approve"
        return self.call(self.keys["approver"], "POST", path, approval)
