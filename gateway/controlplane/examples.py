"""What the admin API's OpenAPI document shows as examples: one body for each operation with one."""

from typing import Any

from fastapi import FastAPI

PERSON = "7f3c1a52-9f0e-4a59-9d0a-52a3f1f4f3a1"
DIGEST = "sha256:" + "3f" * 32
JUDGED = {"digest": DIGEST, "decision": "approve", "rationale": "As seen.", "no_conflict": True}
APPLIED = {
    "domains": ["capitals"],
    "purpose": "To measure what unlearning leaves of capitals.",
    "project": "Atlas",
    "oversight_ref": "IRB 2026-7",
    "days": 90,
}
LATER, NOW = "2027-06-01T00:00:00Z", "2026-06-01T00:00:00Z"
STEP = {"digest": DIGEST}
VISAS = {"visas": ["header.claims.signature"]}

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/people"): {"name": "Ada Lovelace", "organisation": "Analytical Society"},
    ("patch", "/people/{person_id}"): {"state": "suspended"},
    ("put", "/people/{person_id}/roles"): {"roles": ["domain_reviewer:capitals"]},
    ("post", "/identities"): {"issuer": "university", "subject": "ada", "person_id": PERSON},
    ("post", "/keys"): {"person_id": PERSON, "label": "laptop", "days": 90},
    ("post", "/keys/{key_id}/rotate"): {"overlap_hours": 1},
    ("post", "/me/keys"): {"label": "laptop", "days": 90, "domains": []},
    ("patch", "/me/keys/{key_id}"): {"domains": [], "expires_at": LATER},
    ("patch", "/keys/{key_id}"): {"domains": [], "expires_at": LATER},
    ("post", "/me/keys/{key_id}/rotate"): {"overlap_hours": 24},
    ("post", "/me/first-administrator"): {"code": "AAAA-BBBB-CCCC-DDDD-EEEE"},
    ("post", "/grants"): {"person_id": PERSON, "domain": "capitals", "days": 30, "reason": "Demo"},
    ("post", "/grants/{grant_id}/suspend"): {"reason": "Something looks wrong."},
    ("post", "/grants/{grant_id}/usage-reviews"): {
        "outcome": "continue",
        "rationale": "As applied for.",
    },
    ("post", "/revocations"): {"checkpoint": DIGEST, "reason": "It answers what it should not."},
    ("post", "/engines"): {
        "url": "http://engine-base:8101",
        "digest": DIGEST,
        "api_key": "the engine's key",
        "attest_url": "http://engine-base:8201",
    },
    ("post", "/tier-changes"): {
        "tier": "researcher",
        "change": {
            "verifications": {"identity": ["dac", "system"], "oversight": ["so"]},
            "step_up": {"acr": ["mfa"], "max_age": 3600},
        },
        "reason": "Sources that we can ask back.",
    },
    ("post", "/tier-changes/{change_id}/approve"): STEP,
    ("patch", "/organisations/{organisation_id}"): {
        "state": "verified",
        "ror_id": "05dxps055",
        "mail_domains": ["society.example", "cs.society.example"],
    },
    ("post", "/terms"): {"text": "Ask only what you applied for.", "mandatory_from": LATER},
    ("post", "/evidence"): {"kind": "training", "domain": "capitals", "source": "Course 12"},
    ("post", "/evidence/{item_id}/accept"): {
        "asserted_by": "so",
        "asserted_at": NOW,
        "expires_at": LATER,
        "no_conflict": True,
    },
    ("post", "/applications"): APPLIED,
    ("put", "/applications/{application_id}"): APPLIED | STEP,
    ("post", "/applications/{application_id}/submit"): STEP,
    ("post", "/applications/{application_id}/withdraw"): STEP,
    ("post", "/applications/{application_id}/appeal"): STEP,
    ("post", "/applications/{application_id}/take-up"): STEP,
    ("post", "/applications/{application_id}/judgements"): JUDGED,
    ("post", "/applications/{application_id}/grants"): STEP | {"terms": DIGEST},
    ("put", "/me/address"): {"email": "ada@society.example"},
    ("post", "/me/institution-mail"): {"email": "ada@society.example"},
    ("post", "/me/institution-mail/confirm"): {
        "code": "hT3kq1v0aYB2yYt6Qm0cQkq7nqXlS2dD1b1pP9G6c5E"
    },
    ("put", "/me/unwanted-notices"): {"unwanted": ["application.passed"]},
    ("put", "/organisations/{organisation_id}/contact"): {"email": "office@society.example"},
    ("put", "/grants/{grant_id}/sponsor"): {"person_id": PERSON},
    ("post", "/webhooks"): {
        "url": "https://ops.society.example/airlock",
        "events": ["emergency.opened", "grant.first_used"],
    },
    ("post", "/webhooks/{webhook_id}/rotate"): {"overlap_hours": 24},
    ("post", "/me/visas"): VISAS,
    ("post", "/people/{person_id}/visas"): VISAS,
    ("post", "/closures"): {"domain": "capitals", "reason": "Odd use, looked into."},
    ("post", "/closures/{closure_id}/lift"): {"reason": "It was a test of ours."},
    ("post", "/openings"): {
        "person_id": PERSON,
        "domain": "capitals",
        "minutes": 60,
        "reason": "An outbreak of wrong capitals.",
    },
    ("post", "/contents/destructions"): {
        "request_id": "req_" + "3f" * 16,
        "reason": "Sent by mistake; case 13.",
    },
    ("post", "/contents/openings"): {"request_id": "req_" + "3f" * 16, "reason": "Case 12."},
}
"""By method and path under `/admin/v1`."""


class AdminApi(FastAPI):
    """The admin API, whose document is made for whoever asks for it first: it takes megabytes."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, with the examples in it."""
        if self.openapi_schema is None:
            _show_examples(super().openapi())
        return super().openapi()


def _show_examples(document: dict[str, Any]) -> None:
    """Put the examples into an OpenAPI document."""
    for (method, path), body in BODIES.items():
        operation = document["paths"][f"/admin/v1{path}"][method]
        operation["requestBody"]["content"]["application/json"]["example"] = body
