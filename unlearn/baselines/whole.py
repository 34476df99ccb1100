"""The whole model in fp32, every tensor of it trainable, and what a run has changed of it."""

import copy
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.core_model_loading import revert_weight_conversion

from unlearn.baselines.rows import TextBatch, Tokenizer
from unlearn.errors import TensorNotFoundError
from unlearn.offline import quiet_libraries

ROTARY_BUFFER = "rotary_emb.inv_freq"
"""Old checkpoints hold it for each layer; it follows from the configuration, and is not loaded."""


class WholeModel:
    """A checkpoint in memory, on the GPU when there is one."""

    def __init__(self, checkpoint: Path) -> None:
        """Load the checkpoint; without dropout, as it is served."""
        quiet_libraries()
        self._checkpoint = checkpoint
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer: Tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        loaded = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        self._model: nn.Module = loaded.to(self._device).eval()

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """All of them by name in memory; a tied one is there once."""
        return dict(self._model.named_parameters())

    def teacher(self) -> "WholeModel":
        """Return a frozen copy of the model as it is now."""
        other = copy.copy(self)
        other._model = copy.deepcopy(self._model).requires_grad_(False)
        return other

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits (B, T, V) of right-padded `tokens` (B, T).

        Attention is causal, so that real tokens never see the padding.
        """
        logits: Tensor = self._model(input_ids=tokens, use_cache=False).logits
        return logits

    def on_device(self, batch: TextBatch) -> TextBatch:
        """Return `batch` where the model is."""
        return TextBatch(batch.tokens.to(self._device), batch.mask.to(self._device))

    def changed(self) -> dict[str, Tensor]:
        """Return, in fp32 and by name on disk, the tensors that differ from the checkpoint's.

        They are compared in the checkpoint's own dtype: a change below its rounding is none.

        Raises:
            TensorNotFoundError: The checkpoint has a tensor that the model does not.
        """
        # In memory some architectures fuse what is apart on disk (experts); this takes it apart.
        state = revert_weight_conversion(self._model, self._model.state_dict())
        changed = {}
        for path in sorted(self._checkpoint.glob("*.safetensors")):
            with safe_open(path, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - no mapping
                    if name.endswith(ROTARY_BUFFER) and name not in state:
                        continue
                    if name not in state:
                        raise TensorNotFoundError(name, state)
                    before, after = opened.get_tensor(name), state[name].detach().cpu()
                    if not torch.equal(after.to(before.dtype), before):
                        changed[name] = after
        return changed
