"""How fast this machine multiplies matrices, for estimates of time."""

import time

import torch

MEASURING_SECONDS = 0.3


def measure_flops(compute_dtype: str, hidden: int, inner: int, tokens: int) -> float:
    """Return this machine's speed at a feed-forward multiplication, in operations a second.

    Args:
        compute_dtype: `float32` or `bfloat16`.
        hidden: D.
        inner: I.
        tokens: Rows of the left matrix, (N, D) x (D, I).
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = {"device": device, "dtype": getattr(torch, compute_dtype)}
    left, right = torch.ones(tokens, hidden, **kind), torch.ones(inner, hidden, **kind)
    count, started = -1, time.perf_counter()  # The first one also sets the library up.
    while count < 1 or time.perf_counter() - started < MEASURING_SECONDS:
        torch.nn.functional.linear(left, right)
        if device == "cuda":
            torch.cuda.synchronize()
        if count < 0:
            started = time.perf_counter()
        count += 1
    return 2 * tokens * hidden * inner * count / (time.perf_counter() - started)
