"""Relearning: a low-rank adapter is trained on a few texts, of the hazard or of something else.

Source: arXiv 2409.18025 (fine-tuning, also on unrelated text) and 2406.13356 (relearning). The
texts are those of the recipe; next-token loss; AdamW; the adapter is kept apart from the weights,
since bfloat16 would round most of it away.
"""

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import PreTrainedModel

from models.attacks import Setting
from unlearn.attacks.domain import Domain
from unlearn.attacks.subject import Outcome, Subject, figure
from unlearn.batches import Batch, make_batch
from unlearn.corpora import Corpus
from unlearn.errors import TokenizerMismatchError


def relearn(subject: Subject, domain: Domain, setting: Setting) -> Outcome:
    """Train on some texts, and ask again."""
    corpus = domain.forget if setting["corpus"] == "forget" else domain.retain
    rows = draw(corpus, subject, setting)
    with torch.random.fork_rng():
        torch.manual_seed(int(str(setting["seed"])))
        model, losses = train(subject.load(), rows, setting)
    after = subject.score(model, domain.task)
    return Outcome(
        before=subject.right(),
        after=after,
        n=len(domain.task.items),
        found={
            "steps": len(losses),
            "first_loss": figure(losses[0]),
            "last_loss": figure(losses[-1]),
            "different_texts": min(len(corpus.texts), len(rows)),
        },
    )


def draw(corpus: Corpus, subject: Subject, setting: Setting) -> list[list[int]]:
    """Return the texts' tokens; a corpus with fewer texts than wanted is gone through again.

    Raises:
        TokenizerMismatchError: The tokenizer makes nothing to learn of the corpus.
    """
    count, length = int(str(setting["examples"])), int(str(setting["max_tokens"]))
    chooser = torch.Generator().manual_seed(int(str(setting["seed"])))
    order = torch.randperm(len(corpus.texts), generator=chooser).tolist()
    texts = [corpus.texts[order[place % len(order)]] for place in range(count)]
    rows = [row[:length] for row in subject.tokenizer(texts)["input_ids"] if len(row) > 1]
    if not rows:
        raise TokenizerMismatchError("it makes no two tokens of a corpus")
    return rows


def train(
    model: PreTrainedModel, rows: list[list[int]], setting: Setting
) -> tuple[PreTrainedModel, list[float]]:
    """Return the model with its trained adapter, and the loss of each step in nats."""
    config = LoraConfig(
        r=int(str(setting["rank"])),
        lora_alpha=int(str(setting["lora_alpha"])),
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    adapted.train()
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=float(str(setting["learning_rate"])))
    size, losses = int(str(setting["batch_size"])), []
    for turn in range(int(str(setting["passes"]))):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(turn)).tolist()
        for start in range(0, len(order), size):
            batch = make_batch([rows[place] for place in order[start : start + size]])
            loss = next_token_loss(adapted, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
            losses.append(float(loss.detach()))
    return adapted.get_base_model(), losses


def next_token_loss(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Return the mean negative log-likelihood of all tokens but each text's first."""
    tokens = batch.tokens.to(model.device)
    said = model(input_ids=tokens).logits[:, :-1].float()  # (B, T - 1, V)
    counted = batch.mask[:, 1:].to(model.device)
    losses = functional.cross_entropy(said.transpose(1, 2), tokens[:, 1:], reduction="none")
    return (losses * counted).sum() / counted.sum()
