"""A login at an identity provider: where a browser is sent, and what it brings back (OIDC).

Authorization code with PKCE, a nonce in the ID token, and `state` and `iss` (RFC 9207) in what
comes back. What must be remembered in between travels in the browser's own cookie, encrypted, so
that who only begins logins fills no table; the code in it is good once, at the provider, and is
shown there once.
"""

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from hmac import compare_digest
from typing import TYPE_CHECKING

import httpx2
from cryptography.fernet import Fernet, InvalidToken
from joserfc.errors import JoseError
from pydantic import TypeAdapter, ValidationError

from gateway.errors import AuthenticationError, NotFoundError
from gateway.identity.code_uses import CodeUses
from gateway.identity.jose import open_token
from gateway.identity.proof import CLOCK_SECONDS, Assurance, Proof
from gateway.identity.provider import TIMEOUT_SECONDS, BoundedTransport, Known, Provider
from gateway.identity_errors import LoginFailedError, ProviderUnavailableError
from gateway.setting_types import MailAddress

if TYPE_CHECKING:
    from authlib.integrations.httpx_client import AsyncOAuth2Client

MAIL = TypeAdapter(MailAddress)
LASTS_SECONDS = 600
"""How long somebody may take at the provider."""


@dataclass(frozen=True)
class Pending:
    """A login that has begun, as only its own browser knows it."""

    issuer: str
    state: str
    nonce: str
    verifier: str
    return_to: str

    def seal(self, cipher: Fernet, now: datetime) -> str:
        """Return it as the text of a cookie."""
        text = json.dumps(asdict(self)).encode()
        return cipher.encrypt_at_time(text, int(now.timestamp())).decode()


@dataclass(frozen=True)
class LoggedIn:
    """Somebody whom a provider has just logged in."""

    proof: Proof
    name: str
    provider_session: str | None
    """The provider's own name for the session, by which it may end it (`sid`)."""
    email: str | None = None
    """An address that the provider has verified, where it is asked for one."""


def unseal(text: str | None, cipher: Fernet, now: datetime) -> Pending:
    """Return a login that has begun from its cookie.

    Raises:
        LoginFailedError: There is none, or it began too long ago.
    """
    try:
        raw = cipher.decrypt_at_time((text or "").encode(), LASTS_SECONDS, int(now.timestamp()))
    except InvalidToken as error:
        raise LoginFailedError("it did not begin in this browser, or took too long") from error
    return Pending(**json.loads(raw))


async def begin(
    provider: Provider, redirect_uri: str, return_to: str, *, step_up: bool, acr: str | None = None
) -> tuple[str, Pending]:
    """Return the provider's address to send a browser to, and what to remember.

    Args:
        provider: That is asked.
        redirect_uri: Where it sends the browser back to.
        return_to: Where the browser goes then.
        step_up: Whether a fresh proof is asked for, as strong as the issuer's setting says.
        acr: The authentication context to ask for instead of the setting's.

    Raises:
        NotFoundError: People do not log in by this provider.
        ProviderUnavailableError: It does not answer.
    """
    known, setting = await provider.known(), provider.setting
    if setting.client_id is None:
        raise NotFoundError(f"People do not log in by '{setting.name}'.")
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    pending = Pending(setting.name, state, nonce, verifier, return_to)
    more: dict[str, str] = {}
    contexts = setting.step_up_acr if step_up else ()
    if acr is not None:
        contexts = (acr,)
    if contexts:
        more["acr_values"] = " ".join(contexts)
    if step_up:
        more["max_age"] = str(setting.step_up_max_age_seconds)
        more["prompt"] = "login"
    async with _client(provider, redirect_uri) as client:
        address, _ = client.create_authorization_url(
            known.endpoint("authorization_endpoint"),
            state=pending.state,
            code_verifier=pending.verifier,
            nonce=pending.nonce,
            **more,
        )
    return address, pending


async def complete(
    provider: Provider,
    pending: Pending,
    answer: Mapping[str, str],
    redirect_uri: str,
    now: datetime,
    *,
    uses: CodeUses,
) -> LoggedIn:
    """Return who has logged in.

    Args:
        provider: That was asked.
        pending: What was remembered.
        answer: The query that the browser came back with.
        redirect_uri: The same as when it began.
        now: The moment.
        uses: Of this gateway's codes so far.

    Raises:
        LoginFailedError: The answer is not to what was asked, or says no.
        ProviderUnavailableError: The provider does not answer, or is asked too much already.
    """
    from authlib.integrations.base_client import OAuthError

    known, setting = await provider.known(), provider.setting
    if pending.issuer != setting.name or not compare_digest(
        answer.get("state", "").encode(), pending.state.encode()
    ):
        raise LoginFailedError("the answer belongs to another login")
    _check_issuer(known, setting.issuer, answer.get("iss"))
    if "error" in answer:
        raise LoginFailedError("the identity provider refused")
    if not answer.get("code"):
        raise LoginFailedError("the identity provider gave no code")
    try:
        with uses.use(setting.issuer, pending.state):
            async with asyncio.timeout(TIMEOUT_SECONDS), _client(provider, redirect_uri) as client:
                tokens = await client.fetch_token(
                    known.endpoint("token_endpoint"),
                    grant_type="authorization_code",
                    code=answer["code"],
                    code_verifier=pending.verifier,
                )
    except (httpx2.HTTPError, OSError) as error:
        provider.count_fault("login")
        raise ProviderUnavailableError from error
    except (OAuthError, OverflowError, RecursionError, TypeError, ValueError) as error:
        if not isinstance(error, OAuthError):  # To refuse a code is no fault.
            provider.count_fault("login")
        # Its text may hold the code or a token.
        raise LoginFailedError("the code was not accepted") from error
    try:
        return await _read(provider, tokens, pending.nonce, now.timestamp())
    except (AuthenticationError, JoseError) as error:
        raise LoginFailedError("the ID token does not hold") from error


def _client(provider: Provider, redirect_uri: str) -> "AsyncOAuth2Client":
    # Authlib's hundred modules are for those who log people in.
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    return AsyncOAuth2Client(
        client_id=provider.setting.client_id,
        client_secret=provider.client_secret,
        scope="openid profile email" if provider.setting.email else "openid profile",
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
        transport=BoundedTransport(verify=provider.tls, trust_env=False),
        trust_env=False,
        follow_redirects=False,
        timeout=TIMEOUT_SECONDS,
    )


def _check_issuer(known: Known, issuer: str, given: str | None) -> None:
    """Raise when the answer is another provider's, who would get the code otherwise."""
    is_sent = known.document.get("authorization_response_iss_parameter_supported") is True
    if given != issuer and (is_sent or given is not None):
        raise LoginFailedError("the answer is another identity provider's")


async def _read(
    provider: Provider, tokens: Mapping[str, object], nonce: str, now: float
) -> LoggedIn:
    """Return whom an ID token names (OIDC Core 3.1.3.7)."""
    from authlib.oidc.core import CodeIDToken

    setting = provider.setting
    opened = open_token(str(tokens.get("id_token", "")))
    if opened.algorithm not in setting.algorithms or opened.claims.get("iss") != setting.issuer:
        raise LoginFailedError("the ID token is of another kind")
    opened.verify(await provider.key(opened.kid, opened.algorithm))
    opened.check_audience(str(setting.client_id))
    expires_at = opened.check_times(now)
    if "at_hash" in opened.claims:
        opened.claim_text("at_hash")
    access_token = str(tokens.get("access_token") or "")
    CodeIDToken(
        opened.claims,
        # Authlib knows the hash of `at_hash` by RFC 8037's name for the algorithm alone.
        {"alg": "EdDSA" if opened.algorithm == "Ed25519" else opened.algorithm},
        params={
            "nonce": nonce,
            "client_id": setting.client_id,
            "access_token": access_token.encode("utf-8", "surrogatepass"),
        },
    ).validate(now=now, leeway=CLOCK_SECONDS)
    acr = opened.claim_text("acr") if "acr" in opened.claims else None
    sid = opened.claim_text("sid") if "sid" in opened.claims else None
    assurance = Assurance(setting.issuer, acr, opened.moment("auth_time"))
    subject = opened.claim_text("sub")
    proof = Proof(setting.issuer, subject, expires_at, assurance)
    name = shown_name(opened.claims)
    return LoggedIn(proof, name, sid, _email(opened.claims) if setting.email else None)


def shown_name(claims: Mapping[str, object]) -> str:
    """Return what a person is called: what is seen of the first claim of which something is."""
    for claim in (claims.get("name"), claims.get("preferred_username")):
        if isinstance(claim, str):
            seen = "".join(sign for sign in claim if sign.isprintable() or sign.isspace())
            if name := " ".join(seen.split())[:200].rstrip():
                return name
    return "Unnamed"


def _email(claims: Mapping[str, object]) -> str | None:
    """Return an address of the form that mail takes, if the provider has verified it itself."""
    try:
        return (
            MAIL.validate_python(claims.get("email")) if claims["email_verified"] is True else None
        )
    except (KeyError, ValidationError):
        return None
