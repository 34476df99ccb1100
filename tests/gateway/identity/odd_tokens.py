"""Tokens that are each wrong in one way, and the odd keys that a key set may hold."""

import json
import time
import uuid

from joserfc.jwk import ECKey

from tests.fakes.provider import AUDIENCE, FakeProvider, b64, sign, tiny_key

TINY = tiny_key()


def odd_tokens(provider: FakeProvider) -> dict[str, str]:
    """Every token here is wrong in one way."""
    now = int(time.time())
    good = provider.token()
    head, body, signature = good.split(".")
    public = provider.public_pem("rsa")
    forger = ECKey.generate_key("P-256", {"kid": "ec"})
    unsigned = {"alg": "none", "typ": "at+jwt", "kid": "ec"}
    jwk = forger.as_dict(private=False)
    claims = json.dumps(provider.claims())
    twice_alg = json.dumps(unsigned)[:-1] + ', "alg": "ES256"}'
    endless = json.dumps(provider.claims() | {"nbf": 10**400})
    twice = claims[:-1] + f', "sub": "{uuid.uuid4()}"' + "}"
    nested = sign(
        {"alg": "ES256", "typ": "at+jwt", "kid": "ec", "cty": "JWT"}, good, provider.keys["ec"]
    )
    return {
        "alg none": f"{b64(json.dumps(unsigned))}.{body}.",
        "alg none, signed": f"{b64(json.dumps(unsigned))}.{body}.{signature}",
        "alg None": f"{b64(json.dumps({**unsigned, 'alg': 'nOnE'}))}.{body}.{signature}",
        "no signature": f"{head}.{body}.",
        "HS256 with the public key": provider.token("rsa", "HS256", key=public),
        "HS256 with the key's id": provider.token("rsa", "HS256", key=b"rsa" * 20),
        "an algorithm that is not the issuer's": provider.token("ed", "Ed25519"),
        "PS256 where RS256 is listed": provider.token("rsa", "PS256"),
        "another type of key": provider.token("rsa", "ES256", key=forger),
        "typ JWT": provider.token(header={"typ": "JWT"}),
        "no typ": provider.token(header={"typ": ...}),
        "typ of a logout token": provider.token(header={"typ": "logout+jwt"}),
        "an ID token": provider.token(header={"typ": "JWT"}, aud="airlock", nonce="n"),
        "an ID token that says at+jwt": provider.token(nonce="n", at_hash="x"),
        "events": provider.token(events={}),
        "another audience": provider.token(aud="https://other.example"),
        "other audiences": provider.token(aud=["https://other.example", "account"]),
        "an audience that only begins so": provider.token(aud=AUDIENCE + ".evil"),
        "our audience in a nested list": provider.token(aud=[[AUDIENCE]]),
        "our audience as an object's key": provider.token(aud={AUDIENCE: 1}),
        "no audience": provider.token(aud=...),
        "another issuer": provider.token(iss="https://evil.example"),
        "an issuer with a slash": provider.token(iss=provider.url + "/"),
        "no issuer": provider.token(iss=...),
        "an issuer that is no text": provider.token(iss=[provider.url]),
        "another key by that id": provider.token(key=forger),
        "no kid": provider.token(header={"kid": ...}),
        "an empty kid": provider.token(header={"kid": ""}),
        "a kid that is a number": provider.token(header={"kid": 1}),
        "a kid that is a path": provider.token(header={"kid": "../../dev/null"}),
        "jku": provider.token(header={"jku": "https://evil.example/jwks"}, key=forger),
        "x5u": provider.token(header={"x5u": "https://evil.example/x"}, key=forger),
        "x5c": provider.token(header={"x5c": ["AAAA"]}, key=forger),
        "jwk": provider.token(header={"jwk": jwk}, key=forger),
        "jwk, good signature": provider.token(header={"jwk": jwk}),
        "crit": provider.token(header={"crit": ["exp"]}),
        "crit b64": provider.token(header={"crit": ["b64"], "b64": False}),
        "zip": provider.token(header={"zip": "DEF"}),
        "nested": nested,
        "from the future": provider.token(iat=now + 300, exp=now + 600),
        "not yet": provider.token(nbf=now + 300),
        "no exp": provider.token(exp=...),
        "no iat": provider.token(iat=...),
        "exp as a text": provider.token(exp=str(now + 300)),
        "exp true": provider.token(exp=True),
        "exp null": provider.token(exp=None),
        "exp without end": provider.token(raw=claims.replace(str(now + 300), "1e999")),
        "exp NaN": provider.token(raw=claims.replace(str(now + 300), "NaN")),
        "exp beyond all days": provider.token(exp=10**30),
        "exp beyond every calendar": provider.token(exp=2**39),
        "exp too long for a float": provider.token(exp=10**400),
        "nbf too long for a float, unsigned": f"{head}.{b64(endless)}.AAAA",
        "auth_time beyond every calendar": provider.token(auth_time=2**39),
        "no sub": provider.token(sub=...),
        "an empty sub": provider.token(sub=""),
        "a sub that is a number": provider.token(sub=7),
        "a sub that is a list": provider.token(sub=["ada"]),
        "a sub that is null": provider.token(sub=None),
        "a long sub": provider.token(sub="a" * 256),
        "a sub with a zero byte": provider.token(sub="ada\0"),
        "an acr that is a list": provider.token(acr=["mfa"]),
        "a claim twice": provider.token(raw=twice),
        "a header twice": f"{b64(twice_alg)}.{body}.{signature}",
        "huge": provider.token(padding="x" * 9000),
        "a huge header": provider.token(header={"kid": "k" * 500}),
        "deep": provider.token(raw='{"a":' + "[" * 2500 + "]" * 2500 + "}"),
        "a payload that is a list": provider.token(raw="[]"),
        "a payload that is no JSON": provider.token(raw="{"),
        "a payload that is no text": provider.token(raw=b"\xff\xfe"),
        "bad base64": f"{head}.{body}!.{signature}",
        "padded base64": f"{head}.{body}=.{signature}",
        "another spelling of the signature": f"{head}.{body}.{respelt(signature)}",
        "two parts": f"{head}.{body}",
        "five parts": f"{good}.a.b",
        "dots": "..",
        "a changed body": f"{head}.{b64(claims.replace('ada', 'eve'))}.{signature}",
        "a tiny key": sign({"alg": "RS256", "typ": "at+jwt", "kid": "tiny"}, claims, TINY),
        "a key for encryption": provider.token(header={"kid": "enc"}),
        "a symmetric key of the set": sign(
            {"alg": "HS256", "typ": "at+jwt", "kid": "oct"}, claims, b"s" * 32
        ),
        "a key id that is there twice": provider.token(header={"kid": "twice"}),
        "another issuer's key": provider.token(header={"kid": "others"}, key=forger),
    }


def respelt(part: str) -> str:
    """The same bytes in other letters: the last one's low bits are not used."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + letters[letters.index(part[-1]) + 1]


def odd_keys(provider: FakeProvider) -> list[dict]:
    """Keys that are not for us, not public, too small, or there twice."""
    public = provider.keys["ec"].as_dict(private=False)
    twice = {**public, "kid": "twice"}
    secret = {"kty": "oct", "kid": "oct", "k": b64(b"s" * 32), "alg": "HS256"}
    return [
        {**public, "use": "enc", "kid": "enc"},
        twice,
        twice,
        secret,
        TINY.as_dict(private=False),
    ]
