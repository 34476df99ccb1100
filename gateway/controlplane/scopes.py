"""Which scope a key needs for a route of the admin API; who has none for it is turned away.

A login has no scopes and needs none. What a person or an administrator may do at all is in
`permissions`; a key's scopes only take from it. A route without a row is no key's.
"""

from collections.abc import Mapping
from typing import Literal

from gateway.identity.principal import KeyRights
from gateway.identity_errors import InsufficientScopeError
from gateway.policy.scopes import Scope

ABOUT_ONESELF = frozenset({"/me", "/me/keys", "/me/keys/{key_id}", "/me/sessions"})
"""What every key may read."""
Needed = Scope | Literal["nothing", "no key"]

NEEDS: Mapping[tuple[str, str], Scope] = {
    ("POST", "/people"): Scope.PEOPLE,
    ("PATCH", "/people/{person_id}"): Scope.PEOPLE,
    ("PUT", "/people/{person_id}/roles"): Scope.PEOPLE,
    ("POST", "/identities"): Scope.PEOPLE,
    ("DELETE", "/identities/{identity_id}"): Scope.PEOPLE,
    ("PATCH", "/organisations/{organisation_id}"): Scope.PEOPLE,
    ("POST", "/terms"): Scope.PEOPLE,
    ("POST", "/keys"): Scope.KEYS,
    ("POST", "/keys/{key_id}/rotate"): Scope.KEYS,
    ("POST", "/grants"): Scope.GRANTS,
    ("POST", "/engines"): Scope.SERVING,
    ("DELETE", "/engines/{engine_id}"): Scope.SERVING,
    ("DELETE", "/me/sessions/{session_id}"): Scope.RESTRICT,
    ("PATCH", "/me/keys/{key_id}"): Scope.RESTRICT,
    ("POST", "/me/keys/{key_id}/revoke"): Scope.RESTRICT,
    ("DELETE", "/sessions/{session_id}"): Scope.RESTRICT,
    ("DELETE", "/people/{person_id}/sessions"): Scope.RESTRICT,
    ("PATCH", "/keys/{key_id}"): Scope.RESTRICT,
    ("POST", "/keys/{key_id}/revoke"): Scope.RESTRICT,
    ("POST", "/grants/{grant_id}/revoke"): Scope.RESTRICT,
    ("POST", "/grants/{grant_id}/suspend"): Scope.RESTRICT,
    ("POST", "/revocations"): Scope.RESTRICT,
    ("POST", "/closures"): Scope.RESTRICT,
    ("POST", "/evidence/{item_id}/retract"): Scope.RESTRICT,
    ("POST", "/tier-changes"): Scope.TIERS,
    ("POST", "/tier-changes/{change_id}/approve"): Scope.TIERS,
    ("POST", "/tier-changes/{change_id}/withdraw"): Scope.TIERS,
    ("POST", "/me/keys"): Scope.APPLY,
    ("POST", "/me/keys/{key_id}/rotate"): Scope.APPLY,
    ("POST", "/me/first-administrator"): Scope.APPLY,
    ("POST", "/terms/{digest}/accept"): Scope.APPLY,
    ("POST", "/evidence"): Scope.APPLY,
    ("POST", "/applications"): Scope.APPLY,
    ("PUT", "/applications/{application_id}"): Scope.APPLY,
    ("POST", "/applications/{application_id}/submit"): Scope.APPLY,
    ("POST", "/applications/{application_id}/withdraw"): Scope.APPLY,
    ("POST", "/applications/{application_id}/appeal"): Scope.APPLY,
    ("POST", "/applications/{application_id}/grants"): Scope.APPLY,
    ("POST", "/applications/{application_id}/take-up"): Scope.REVIEW,
    ("POST", "/applications/{application_id}/judgements"): Scope.REVIEW,
    ("POST", "/evidence/{item_id}/accept"): Scope.REVIEW,
    ("POST", "/grants/{grant_id}/resume"): Scope.REVIEW,
    ("POST", "/grants/{grant_id}/usage-reviews"): Scope.REVIEW,
    ("POST", "/closures/{closure_id}/lift"): Scope.EMERGENCY,
    ("POST", "/openings"): Scope.EMERGENCY,
    ("POST", "/openings/{opening_id}/confirm"): Scope.EMERGENCY,
    ("PUT", "/me/address"): Scope.APPLY,
    ("DELETE", "/me/address"): Scope.APPLY,
    ("POST", "/me/institution-mail"): Scope.APPLY,
    ("POST", "/me/institution-mail/confirm"): Scope.APPLY,
    ("PUT", "/me/unwanted-notices"): Scope.APPLY,
    ("POST", "/me/visas"): Scope.APPLY,
    ("POST", "/me/passport"): Scope.APPLY,
    ("POST", "/people/{person_id}/visas"): Scope.PEOPLE,
    ("DELETE", "/people/{person_id}/address"): Scope.PEOPLE,
    ("PUT", "/organisations/{organisation_id}/contact"): Scope.PEOPLE,
    ("DELETE", "/organisations/{organisation_id}/contact"): Scope.PEOPLE,
    ("PUT", "/grants/{grant_id}/sponsor"): Scope.PEOPLE,
    ("DELETE", "/grants/{grant_id}/sponsor"): Scope.PEOPLE,
    ("POST", "/webhooks"): Scope.PEOPLE,
    ("POST", "/webhooks/{webhook_id}/rotate"): Scope.PEOPLE,
    ("DELETE", "/webhooks/{webhook_id}"): Scope.RESTRICT,
    ("POST", "/notices/{notice_id}/resend"): Scope.PEOPLE,
    ("POST", "/people-import"): Scope.PEOPLE,
    ("POST", "/contents/openings"): Scope.CONTENTS,
    ("POST", "/contents/openings/{opening_id}/approve"): Scope.CONTENTS,
    ("POST", "/contents/openings/{opening_id}/release"): Scope.CONTENTS,
    ("POST", "/contents/destructions"): Scope.CONTENTS,
    ("POST", "/contents/destructions/{destruction_id}/approve"): Scope.CONTENTS,
}
"""By method and path under `/admin/v1`; whatever only reads needs `admin:read`."""


def scope_of(method: str, path: str) -> Needed:
    """Return what a key needs for a route.

    Args:
        method: Of the request.
        path: The route's, under `/admin/v1`.
    """
    if method == "GET":
        return "nothing" if path in ABOUT_ONESELF else Scope.READ
    return NEEDS.get((method, path), "no key")


def check_scope(rights: KeyRights | None, needed: Needed) -> None:
    """Refuse a key that has not what a route needs.

    Args:
        rights: Of the key that came; None for a login.
        needed: As `scope_of` says, or less for a change that only restricts.

    Raises:
        InsufficientScopeError: It has not.
    """
    if rights is not None and needed != "nothing" and needed not in rights.scopes:
        raise InsufficientScopeError(str(needed))
