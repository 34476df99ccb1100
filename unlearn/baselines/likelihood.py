"""What a language model says about texts: their likelihood, and how far from a teacher's it is.

All are means over a text's tokens first and over texts then, so that a long text does not weigh
more than a short one (as in the public code of LLMU, kevinyaobytedance/llm_unlearn, utils.py).
"""

from torch import Tensor, nn


def predicted(mask: Tensor, first: Tensor | int = 1) -> Tensor:
    """Return which logits predict a real token that counts.

    Args:
        mask: (B, T), 1 for a real token and 0 for padding.
        first: The position, (B,) or one for all, of the first token that counts; at least 1,
            since nothing predicts a text's first token.

    Returns:
        (B, T - 1), 1 at position t when token t + 1 counts.
    """
    positions = mask.cumsum(dim=1)[:, 1:] - 1  # (B, T - 1): the position of token t + 1.
    if isinstance(first, Tensor):
        first = first[:, None]
    return mask[:, 1:] * (positions >= first)


def negative_log_likelihood(logits: Tensor, tokens: Tensor, counted: Tensor) -> Tensor:
    """Return the mean over texts of -1/n * sum_t ln p(token_t+1 | tokens_1..t).

    Its mean for one text is the log-perplexity.

    Args:
        logits: (B, T, V), fp32.
        tokens: (B, T).
        counted: (B, T - 1), of `predicted`.

    Returns:
        A scalar, in nats per token.
    """
    losses = nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none"
    )  # (B, T - 1)
    return _mean(losses, counted)


def divergence(teacher: Tensor, student: Tensor, counted: Tensor) -> Tensor:
    """Return the mean over texts and tokens of KL(teacher || student).

    Args:
        teacher: (B, T, V) logits, without gradients.
        student: (B, T, V) logits.
        counted: (B, T - 1), of `predicted`.

    Returns:
        A scalar, in nats per token, at least 0.
    """
    wanted = teacher[:, :-1].log_softmax(dim=-1)
    given = student[:, :-1].log_softmax(dim=-1)
    losses = (wanted.exp() * (wanted - given)).sum(dim=-1)  # (B, T - 1)
    return _mean(losses, counted)


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    # A text of one token has nothing to predict: it counts as 0, not as 0 / 0.
    return ((losses * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)).mean()
