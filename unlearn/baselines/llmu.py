"""LLMU: ascend on what to forget, learn unrelated answers to it, stay near the base elsewhere.

    L = -e1 * L(x, y) + e2 * 1/K * sum_k L(x, y_k) + e3 * KL(base || model) on retain texts

Source: Yao, Xu, Liu, "Large Language Model Unlearning", arXiv 2310.10683, section 4: the update
rule with L_fgt, L_rdn and L_nor; public code kevinyaobytedance/llm_unlearn at ef24ca7, utils.py.
Its corpora are questions with answers; those of WMDP are plain texts, so here x is a text's
beginning, y its rest, and y_k the rest of an unrelated text. Constant learning rate (the public
code decays it), no weight decay.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from unlearn.baselines.likelihood import divergence, negative_log_likelihood, predicted
from unlearn.baselines.recipe import LlmuConfig
from unlearn.baselines.rows import TopicRows, deal, pad
from unlearn.baselines.steps import BaselineStep, OnStep, finite
from unlearn.baselines.whole import WholeModel
from unlearn.corpora import Corpus


def fit(
    config: LlmuConfig, checkpoint: Path, corpora: Sequence[tuple[Corpus, Corpus]], on_step: OnStep
) -> dict[str, Tensor]:
    """Run LLMU.

    Args:
        config: The recipe.
        checkpoint: The base's directory.
        corpora: Of each of the recipe's topics what to forget and what to retain.
        on_step: Told of every step: `forget` is the log-perplexity of y, `retain` the divergence.

    Returns:
        The tensors that differ from the base's, by name on disk, in fp32.

    Raises:
        DivergedError: The loss is not finite.
    """
    student = WholeModel(checkpoint)
    teacher = student.teacher()
    topics = deal(config, corpora, student.tokenizer)
    optimizer = torch.optim.AdamW(
        student.parameters.values(), lr=config.learning_rate, weight_decay=0.0
    )
    for step in range(1, config.steps + 1):
        number, which = divmod(step - 1, len(topics))
        topic = topics[which]
        prompts = topic.forget.rows(number, config.batch_size)
        forget = answer_loss(student, *_split_all(prompts, config.prompt_tokens))
        mismatch = answer_loss(student, *mismatched(config, topic, number, prompts))
        kept = student.on_device(topic.retain.batch(number, config.batch_size))
        with torch.no_grad():
            wanted = teacher.logits(kept.tokens)
        retain = divergence(wanted, student.logits(kept.tokens), predicted(kept.mask))
        loss = total_loss(config, forget, mismatch, retain)
        value = finite(loss, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        on_step(BaselineStep(step, topic.domain, value, forget.item(), retain.item()))
    return student.changed()


def total_loss(config: LlmuConfig, forget: Tensor, mismatch: Tensor, retain: Tensor) -> Tensor:
    """Return what LLMU descends on; the minus makes the first part an ascent.

    Args:
        config: With the weights epsilon_1 to epsilon_3.
        forget: L(x, y), a scalar in nats per token.
        mismatch: The mean of L(x, y_k).
        retain: KL(base || model).
    """
    return (
        -config.forget_weight * forget
        + config.mismatch_weight * mismatch
        + config.retain_weight * retain
    )


def answer_loss(model: WholeModel, prompts: list[list[int]], answers: list[list[int]]) -> Tensor:
    """Return the log-perplexity of answers after their prompts: L(x, y), a scalar.

    Args:
        model: Whose likelihood is taken.
        prompts: x, token rows, none empty.
        answers: y, as many token rows.
    """
    rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    batch = model.on_device(pad(rows))
    first = torch.tensor([len(prompt) for prompt in prompts], device=batch.mask.device)
    logits = model.logits(batch.tokens)
    return negative_log_likelihood(logits, batch.tokens, predicted(batch.mask, first))


def mismatched(
    config: LlmuConfig, topic: TopicRows, number: int, texts: list[list[int]]
) -> tuple[list[list[int]], list[list[int]]]:
    """Return each text's prompt `mismatches` times, and an unrelated answer to each.

    Args:
        config: The recipe.
        topic: Where unrelated texts come from.
        number: Of the batch, counted from 0; no text is drawn twice in a pass.
        texts: (B) token rows to forget.

    Returns:
        (B * K) prompts and (B * K) answers.
    """
    prompts, _ = _split_all(texts, config.prompt_tokens)
    repeated = [prompt for prompt in prompts for _ in range(config.mismatches)]
    _, answers = _split_all(topic.unrelated.rows(number, len(repeated)), config.prompt_tokens)
    return repeated, answers


def _split_all(
    rows: list[list[int]], prompt_tokens: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Cut each row into prompt and answer; of a short row the first half is the prompt."""
    cuts = [max(1, min(prompt_tokens, len(row) // 2)) for row in rows]
    prompts = [row[:cut] for row, cut in zip(rows, cuts, strict=True)]
    answers = [row[cut:] for row, cut in zip(rows, cuts, strict=True)]
    return prompts, answers
