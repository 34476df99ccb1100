"""A stand-in for an engine's side-car, which attests what it is told to, or fails as told."""

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

from models.attestation import Attestation
from models.release import Release
from models.signing import seal
from tests.models.trusting import ENGINE


@dataclass
class FakeSideCar:
    """An ASGI application that answers `/attest`."""

    release: Release
    mode: str = "ok"
    """ok, down, silent, replay (an old answer), long, or stranger (another key)."""
    key: object = ENGINE
    started_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    asked: int = 0
    earlier: bytes = b""

    def __post_init__(self) -> None:
        self.first = self.release

    async def __call__(self, scope, receive, send):
        self.asked += 1
        nonce = parse_qs(scope["query_string"].decode())["nonce"][0]
        raw = seal(self.attestation(nonce), [self.key])
        if self.mode == "replay":
            raw = self.earlier
        if self.mode == "long":
            raw += b" " * 65_536
        self.earlier = raw
        start = {"type": "http.response.start", "status": 503 if self.mode == "down" else 200}
        await send({**start, "headers": [(b"content-length", str(len(raw)).encode())]})
        if self.mode == "silent":
            await send({"type": "http.response.body", "body": raw[:1], "more_body": True})
            return
        await send({"type": "http.response.body", "body": raw})

    def attestation(self, nonce: str) -> Attestation:
        return Attestation(
            alias=self.release.alias,
            checkpoint=self.release.checkpoint,
            profile=self.release.profile.document_digest,
            release_version=self.release.version,
            release=self.release.document_digest,
            engine_started_at=self.started_at,
            pid=1,
            pid_start_ticks=1,
            nonce=nonce,
        )
