"""A new decoder for pretraining, one that can copy before its first step.

What small models learn last is to look something up in the text before them: the pair of a head that marks each token
with the one before it, and a head that finds the earlier place of the current token and repeats what followed there
(induction heads: Olsson et al., 2022). Left to chance this model had hardly formed them after 17.5M tokens; written
into the first weights, it repeats a list of random tokens before any training and keeps that while it learns the rest
(docs/log.md, 2026-11-20). Starting from weights that resemble trained ones is known as mimetic initialisation (Trockman
and Kolter, 2023).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
    from transformers.models.llama.modeling_llama import LlamaAttention

    from heedlm.pretrain_config import ShapeConfig

ROPE_THETA = 500_000.0  # slow enough that half of a head's dimensions hardly turn within the context
EMBEDDING_STD = 0.08  # with 0.02 the first steps of AdamW overwrite the circuit; with 0.05 to 0.1 it stays
RESIDUAL_SCALE = 0.3  # what the other heads and the feed-forward layers write at first, against their usual start
CONSTANT = 8.0  # coordinate 0 of every embedding, in units of EMBEDDING_STD: what position alone is computed from
PREVIOUS_LOGIT, MATCH_LOGIT = 25.0, 20.0  # attention logits of the two heads at the right place
WRITTEN, COPIED = 2.0, 4.0  # size of the mark and of the copy, against the token's own embedding
FAST = 6  # rotary pairs that tell position t - 1 from its neighbours
SLOW = 0.02  # rotary pairs below this angle per token carry the match, whatever the distance


def new_model(shape: ShapeConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A Llama-shaped decoder with tied embeddings, float32 on CPU. The same seed gives the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)  # the library's weight initialisation takes no generator
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.context,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    if shape.layers > 1:  # the circuit takes two layers
        write_copying_circuit(model, torch.Generator().manual_seed(seed))
    return model


class _Head(NamedTuple):
    """One query head and the key and value head that it reads, as rows of the projections."""

    query: slice
    key: slice


@torch.no_grad()
def write_copying_circuit(model: LlamaForCausalLM, generator: torch.Generator) -> None:
    """Write one induction circuit per key head into layers 0 and 1; all other weights keep their random start.

    The embeddings are random in one half of the residual stream (``tokens``) and constant in coordinate 0. In layer 0 a
    head attends to position t - 1, from the constant and the fast rotary pairs alone, and writes that token into the
    other half (``marks``). In layer 1 a head compares each mark with the current token, in the slow rotary pairs, and
    writes the token it finds; tied embeddings turn that into its logit. Every key head takes its own slice of the token.
    """
    hidden, head_dim = model.config.hidden_size, model.model.layers[0].self_attn.head_dim
    num_kv = model.config.num_key_value_heads
    group = model.config.num_attention_heads // num_kv
    half = (hidden - 1) // 2
    width = min(head_dim, half // num_kv)
    basis, _ = torch.linalg.qr(torch.randn(hidden - 1, hidden - 1, generator=generator))
    tokens, marks = basis[:half], basis[half:]

    embeddings = model.get_input_embeddings().weight
    std = EMBEDDING_STD
    spread = torch.randn(embeddings.shape[0], half, generator=generator) * (std * math.sqrt((hidden - 1) / half))
    embeddings[:, 0] = CONSTANT * std
    embeddings[:, 1:] = spread @ tokens
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight *= RESIDUAL_SCALE
        layer.mlp.down_proj.weight *= RESIDUAL_SCALE

    # Root mean squares of the stream as the two layers see it: their norms divide by these.
    before = std * math.sqrt((CONSTANT**2 + hidden - 1) / hidden)
    after = std * math.sqrt((CONSTANT**2 + (hidden - 1) * (1 + WRITTEN**2)) / hidden)
    first, second = model.model.layers[0].self_attn, model.model.layers[1].self_attn
    for kv in range(num_kv):
        head = _Head(_rows(kv * group, head_dim), _rows(kv, head_dim))
        mine = slice(kv * width, (kv + 1) * width)
        _look_back(first, head, constant=CONSTANT * std / before)
        _carry(first, head, tokens[mine], marks[mine], scale=before * WRITTEN)
        _match(second, head, tokens[mine], marks[mine], size=std * math.sqrt((hidden - 1) / half) / after)
        _carry(second, head, tokens[mine], tokens[mine], scale=after * COPIED)


def _rows(index: int, head_dim: int) -> slice:
    return slice(index * head_dim, (index + 1) * head_dim)


def _angles(head_dim: int) -> torch.Tensor:
    """Angle per token of each rotary pair (half of head_dim)."""
    pairs = torch.arange(head_dim // 2)
    return torch.pow(torch.tensor(ROPE_THETA), -2 * pairs / head_dim)


def _quiet(layer: LlamaAttention, head: _Head) -> None:
    layer.q_proj.weight[head.query] *= 0.1
    layer.k_proj.weight[head.key] *= 0.1


def _look_back(layer: LlamaAttention, head: _Head, constant: float) -> None:
    """Attend to t - 1: keys point the same way everywhere, queries as the key one position earlier would."""
    half = layer.head_dim // 2
    fast = min(FAST, half)
    angles = _angles(layer.head_dim)[:fast]
    size = math.sqrt(PREVIOUS_LOGIT * math.sqrt(layer.head_dim) / fast) / constant
    _quiet(layer, head)
    layer.k_proj.weight[head.key][:fast, 0] += size
    layer.q_proj.weight[head.query][:fast, 0] += size * angles.cos()
    layer.q_proj.weight[head.query][half : half + fast, 0] -= size * angles.sin()


def _match(layer: LlamaAttention, head: _Head, tokens: torch.Tensor, marks: torch.Tensor, size: float) -> None:
    """Attend to where the mark (rows of `marks`) equals the current token (rows of `tokens`)."""
    slow = torch.nonzero(_angles(layer.head_dim) < SLOW).flatten()
    dims = torch.cat([slow, slow + layer.head_dim // 2])[: len(tokens)]
    gain = math.sqrt(MATCH_LOGIT * math.sqrt(layer.head_dim) / max(len(dims), 1)) / size
    _quiet(layer, head)
    layer.q_proj.weight[head.query][dims, 1:] += gain * tokens[: len(dims)]
    layer.k_proj.weight[head.key][dims, 1:] += gain / WRITTEN * marks[: len(dims)]


def _carry(layer: LlamaAttention, head: _Head, read: torch.Tensor, written: torch.Tensor, scale: float) -> None:
    """Move what stands in the directions `read` of the attended token to the directions `written` of this one."""
    width = len(read)
    layer.v_proj.weight[head.key] = 0
    layer.v_proj.weight[head.key][:width, 1:] = read
    layer.o_proj.weight[:, head.query] = 0
    layer.o_proj.weight[1:, head.query][:, :width] = scale * written.T
