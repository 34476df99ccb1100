"""The endpoints that engines answer: how each one's bodies and answers are read."""

from dataclasses import dataclass

import msgspec

from gateway.dataplane import wire
from gateway.dataplane.answers import Completions, Dialect


@dataclass(frozen=True)
class Endpoint:
    """One path; the engine is asked on the same one."""

    path: str
    decoder: msgspec.json.Decoder[wire.InferenceRequest]
    dialect: Dialect


ENDPOINTS = {
    endpoint.path: endpoint
    for endpoint in (
        Endpoint("/v1/chat/completions", msgspec.json.Decoder(wire.ChatRequest), Completions()),
        Endpoint("/v1/completions", msgspec.json.Decoder(wire.CompletionRequest), Completions()),
    )
}
