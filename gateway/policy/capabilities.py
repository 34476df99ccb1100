"""Capabilities: what a tier's members may ask of a model beyond its plain answer.

Each one is a lever that can bring unlearned knowledge back, or lets a caller force what is said.
A tier has the ones that its row lists; what it does not list, or a word that is unknown here, is
refused.
"""

from collections.abc import Iterable
from enum import StrEnum


class Capability(StrEnum):
    """One lever."""

    ALLOWED_IDS = "allowed_token_ids"
    """Only the listed tokens may be said."""
    ECHO = "echo"
    """The prompt comes back, with likelihoods when they are asked for."""
    GUIDED_DECODING = "guided_decoding"
    """The answer follows the caller's regular expression, grammar or list of texts."""
    LOGIT_BIAS = "logit_bias"
    """Tokens are made more or less likely."""
    NAMED_LOGPROBS = "logprob_token_ids"
    """Likelihoods of tokens that the caller names."""
    PREFILL = "prefill"
    """The answer's beginning is the caller's."""
    PROMPT_LOGPROBS = "prompt_logprobs"
    """Likelihoods of the caller's own text."""
    RAW_COMPLETIONS = "raw_completions"
    """`/v1/completions`: a text goes on without the chat template around it."""


def known(names: Iterable[str]) -> frozenset[Capability]:
    """Return the capabilities among names; an unknown name gives nobody anything."""
    values = {str(capability) for capability in Capability}
    return frozenset(Capability(name) for name in names if name in values)
