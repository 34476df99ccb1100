"""Which baseline a recipe asks for."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from unlearn.baselines import llmu, scrub, ssd
from unlearn.baselines.recipe import BaselineConfig, LlmuConfig, ScrubConfig
from unlearn.baselines.steps import OnStep
from unlearn.corpora import Corpus


def fit(
    config: BaselineConfig,
    checkpoint: Path,
    corpora: Sequence[tuple[Corpus, Corpus]],
    on_step: OnStep,
) -> dict[str, Tensor]:
    """Run the recipe's method.

    Args:
        config: The recipe.
        checkpoint: The base's directory.
        corpora: Of each of the recipe's topics what to forget and what to retain.
        on_step: Told of every step.

    Returns:
        The tensors that differ from the base's, by name on disk, in fp32.

    Raises:
        TensorNotFoundError: The checkpoint has a tensor that the model does not.
        DivergedError: The loss is not finite.
    """
    if isinstance(config, LlmuConfig):
        return llmu.fit(config, checkpoint, corpora, on_step)
    if isinstance(config, ScrubConfig):
        return scrub.fit(config, checkpoint, corpora, on_step)
    return ssd.fit(config, checkpoint, corpora, on_step)
