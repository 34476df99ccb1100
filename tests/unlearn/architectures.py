"""Tiny random models of every architecture that can be unlearned, as checkpoints on disk."""

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PhiConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

SIZES = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**SIZES, "num_key_value_heads": 1, "head_dim": 8}
# Windows shorter than the texts, full attention in one layer and not in the next.
GEMMA = {
    **GROUPED,
    "sliding_window": 4,
    "query_pre_attn_scalar": 8,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
DOWN = "mlp.down_proj.weight"

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**GROUPED),
    "mistral": MistralConfig(**GROUPED, sliding_window=4),
    "mixtral": MixtralConfig(**GROUPED, num_local_experts=3, num_experts_per_tok=2),
    "qwen2": Qwen2Config(**{**SIZES, "num_key_value_heads": 1}),
    "qwen3": Qwen3Config(**GROUPED),
    "qwen3_moe": Qwen3MoeConfig(
        **GROUPED, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=24
    ),
    "gemma2": Gemma2Config(**GEMMA),
    "gemma3": Gemma3TextConfig(**GEMMA),
    "phi": PhiConfig(**SIZES),
    "gpt_neox": GPTNeoXConfig(**SIZES),
}
# A tensor of each that recipes train, by its name on disk within a layer.
TRAINED = {
    "mixtral": "block_sparse_moe.experts.0.w3.weight",
    "qwen3_moe": "mlp.experts.2.down_proj.weight",
    "phi": "mlp.fc2.weight",
    "gpt_neox": "mlp.dense_4h_to_h.weight",
}


def write_model(name: str, directory: Path, dtype: torch.dtype = torch.float32) -> None:
    """Save a tiny random model."""
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).to(dtype)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # Their own start leaves layers nearly idle.
    model.save_pretrained(directory)
