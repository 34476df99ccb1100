"""Logging in and out: where browsers go to a provider, come back from it, and leave.

Nothing here is cached, and no address here holds a secret of ours. The OpenAPI document leaves
these out, since they are for browsers and providers; `docs/login.md` describes them.
"""

import contextlib
import re
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response

from gateway.controlplane.access import Now, Parts, Session, check_ours
from gateway.controlplane.logins import person_of
from gateway.controlplane.pages import read_form
from gateway.controlplane.sessions import (
    begin_session,
    end_logged_out,
    end_session,
    find_session,
)
from gateway.controlplane.tier_schemas import Acr
from gateway.errors import InvalidRequestError, NotFoundError
from gateway.identity import login
from gateway.identity.cookie import LOGIN, SESSION, set_cookie
from gateway.identity.logout_token import read_logout
from gateway.identity.tier_terms import load_tiers
from gateway.identity_errors import InvalidSessionError, LoginFailedError

router = APIRouter(include_in_schema=False)
LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}")
"""A path on this very host: a browser takes `//` and a backslash for another one."""


@router.get("/login")
async def get_logins(parts: Parts, response: Response) -> list[dict[str, str]]:
    """List the providers by which people log in."""
    response.headers["cache-control"] = "no-store"
    return [
        {"name": one.name, "issuer": one.issuer, "login": f"/login/{one.name}"}
        for one in parts.settings.issuers
        if one.client_id is not None
    ]


@router.get("/login/{name}")
async def get_login(
    name: str,
    parts: Parts,
    session: Session,
    now: Now,
    return_to: str = "/console/",
    step_up: bool = False,
    acr: Acr | None = None,
) -> Response:
    """Send a browser to a provider; with `step_up`, for a fresh and strong proof.

    `acr` is the authentication context to ask for, of those that the issuer or a tier demands.
    """
    if LOCAL.fullmatch(return_to) is None:
        raise InvalidRequestError("return_to is a path on this host.", "return_to")
    provider = parts.issuers.named(name)
    if acr is not None and acr not in provider.setting.step_up_acr:
        tiers = await load_tiers(session)
        if not any(one.step_up and acr in one.step_up.acr for one in tiers.values()):
            raise InvalidRequestError("No issuer and no tier demands this acr.", "acr")
    address, pending = await login.begin(
        provider, _callback(parts, name), return_to, step_up=step_up, acr=acr
    )
    sealed = pending.seal(parts.login_cipher, now)
    cookie = set_cookie(LOGIN, sealed, login.LASTS_SECONDS)
    return _redirect(address, cookie)


@router.get("/login/{name}/callback")
async def get_callback(
    name: str, request: Request, session: Session, parts: Parts, now: Now
) -> Response:
    """Take a browser back from a provider; it is logged in then."""
    pairs = parse_qsl(request.url.query)
    if len(dict(pairs)) != len(pairs):
        raise LoginFailedError("the answer says something twice")
    provider = parts.issuers.named(name)
    pending = login.unseal(request.cookies.get(LOGIN), parts.login_cipher, now)
    found = await login.complete(
        provider,
        pending,
        dict(pairs),
        _callback(parts, name),
        now,
        uses=parts.issuers.code_uses,
    )
    person_id = await person_of(session, found, provider.setting, now)
    await _end_current(request, session, parts, now)
    new = await begin_session(
        session, found, person_id, pepper=parts.pepper, settings=parts.settings, now=now
    )
    return _redirect(
        pending.return_to,
        set_cookie(SESSION, new.secret, parts.settings.session_seconds),
        set_cookie(LOGIN, "", 0),
    )


@router.post("/logout", status_code=204)
async def post_logout(request: Request, session: Session, parts: Parts, now: Now) -> Response:
    """End the session that came with the request; its change is checked as any other is.

    Nobody is vouched for: who is let in no more may log out.
    """
    if SESSION in request.cookies:
        check_ours(request, parts, request.headers)
    await _end_current(request, session, parts, now)
    headers = {"set-cookie": set_cookie(SESSION, "", 0), "cache-control": "no-store"}
    return Response(status_code=204, headers=headers)


@router.post("/login/{name}/logout")
async def post_backchannel_logout(
    name: str, request: Request, session: Session, parts: Parts, now: Now
) -> Response:
    """Take a provider's word that somebody has logged out there."""
    form = await read_form(request)
    provider = parts.issuers.named(name)
    said = await read_logout(provider, form.get("logout_token", ""), now.timestamp())
    await end_logged_out(session, said, now)
    return Response(status_code=200, headers={"cache-control": "no-store"})


async def _end_current(request: Request, session: Session, parts: Parts, now: Now) -> None:
    """End the browser's session of before, if it has one."""
    secret = request.cookies.get(SESSION)
    if secret is None:
        return
    try:
        row = await find_session(
            session, secret, pepper=parts.pepper, settings=parts.settings, now=now
        )
    except InvalidSessionError:
        return
    actor = f"person:{row.person_id}"
    with contextlib.suppress(NotFoundError):  # Somebody has ended it at this moment.
        await end_session(session, row.id, row.person_id, actor=actor, now=now)


def _callback(parts: Parts, name: str) -> str:
    if parts.settings.public_url is None:
        raise NotFoundError("People do not log in here: AIRLOCK_PUBLIC_URL is not set.")
    return f"{parts.settings.public_url}/login/{name}/callback"


def _redirect(address: str, *cookies: str) -> Response:
    response = Response(
        status_code=303,
        headers={
            "location": address,
            "cache-control": "no-store",
            # The address that a browser comes back to holds the provider's code.
            "referrer-policy": "no-referrer",
        },
    )
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response
