"""The endpoints that engines answer: how each one's bodies and answers are read."""

from dataclasses import dataclass

import msgspec

from gateway.dataplane.answers import Completions, Dialect
from gateway.dataplane.dialects import Embeddings, Messages, Responses, TokenCount
from gateway.dataplane.wire.chat import ChatRequest
from gateway.dataplane.wire.completions import CompletionRequest
from gateway.dataplane.wire.embeddings import EmbeddingRequest
from gateway.dataplane.wire.messages import CountTokensRequest, MessagesRequest
from gateway.dataplane.wire.request import Request
from gateway.dataplane.wire.responses import ResponsesRequest

MESSAGES_PATH = "/v1/messages"


@dataclass(frozen=True)
class Endpoint:
    """One path; the engine is asked on the same one."""

    path: str
    decoder: msgspec.json.Decoder[Request]
    dialect: Dialect


def _decoder(kind: type[Request]) -> msgspec.json.Decoder[Request]:
    return msgspec.json.Decoder(kind)


ENDPOINTS = {
    endpoint.path: endpoint
    for endpoint in (
        Endpoint("/v1/chat/completions", _decoder(ChatRequest), Completions()),
        Endpoint("/v1/completions", _decoder(CompletionRequest), Completions()),
        Endpoint("/v1/responses", _decoder(ResponsesRequest), Responses()),
        Endpoint(MESSAGES_PATH, _decoder(MessagesRequest), Messages()),
        Endpoint(f"{MESSAGES_PATH}/count_tokens", _decoder(CountTokensRequest), TokenCount()),
        Endpoint("/v1/embeddings", _decoder(EmbeddingRequest), Embeddings()),
    )
}
