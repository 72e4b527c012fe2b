"""The four model shapes that heed writes as GGUF: their tensors' names, their order of rows, their figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heedlm.errors import HeedError, Problem

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

# transformers' name of a family -> llama.cpp's. Mistral differs from Llama by its window alone, which llama.cpp leaves out.
FAMILIES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
# llama.cpp turns neighbours, transformers turns halves: rows of queries and keys change places for this shape.
TURNED = ("llama",)
ROPES = ("default", "linear", "llama3")

_ENDS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The figures of a model that a GGUF file states.

    arch: llama.cpp's name.   context: tokens, as far as llama.cpp computes what the model computes.
    rope: one of ROPES, with `factor` for "linear".   notes: what was changed on the way, for people.
    """

    arch: str
    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    eps: float
    theta: float
    rope: str = "default"
    factor: float = 1.0
    notes: tuple[str, ...] = ()


def check_family(config: PreTrainedConfig, folder: str) -> str:
    """llama.cpp's name for the family of a model. Raises HeedError, with those that are known and the way for others."""
    kind = str(config.model_type)
    if kind not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise HeedError(
            f"heed writes GGUF for the shapes {known}; this model is of the family {kind!r}.",
            folder,
            "llama.cpp's own converter knows more: heed export ... --to hf --out FOLDER, then, in a clone of llama.cpp, "
            "python convert_hf_to_gguf.py FOLDER --outtype q8_0 --outfile model.gguf",
        )
    return FAMILIES[kind]


def shape_of(config: PreTrainedConfig, folder: str) -> Shape:
    """The shape of a model. Raises HeedError with everything that llama.cpp's shape cannot say."""
    arch = check_family(config, folder)
    known: Any = config
    rope = dict(known.rope_parameters or {})
    kind = str(rope.get("rope_type", "default"))
    problems = []
    if known.hidden_act != "silu":
        problems.append(Problem(f"The activation {known.hidden_act!r} is not the silu of this shape.", folder))
    if kind not in ROPES or (kind == "llama3" and arch != "llama"):
        what = f"Positions are scaled by {kind!r}; heed writes {', '.join(ROPES)} (llama3 for the shape llama)."
        problems.append(Problem(what, folder, "llama.cpp's own converter: convert_hf_to_gguf.py FOLDER"))
    if float(rope.get("partial_rotary_factor") or 1.0) != 1.0:
        problems.append(Problem("Only a part of each head is turned, which this shape cannot say.", folder))
    if problems:
        raise HeedError.of(problems)
    context, notes = int(known.max_position_embeddings), []
    window = _window(known)
    if window is not None and window < context:
        notes.append(
            f"llama.cpp computes this shape without its window of {window:,} tokens: the context is set to that, within "
            "which both are the same."
        )
        context = window
    return Shape(
        arch=arch,
        layers=int(known.num_hidden_layers),
        hidden=int(known.hidden_size),
        inner=int(known.intermediate_size),
        heads=int(known.num_attention_heads),
        kv_heads=int(known.num_key_value_heads),
        head_dim=int(getattr(known, "head_dim", None) or known.hidden_size // known.num_attention_heads),
        context=context,
        eps=float(known.rms_norm_eps),
        theta=float(rope.get("rope_theta", 10000.0)),
        rope=kind,
        factor=float(rope.get("factor", 1.0)) if kind == "linear" else 1.0,
        notes=tuple(notes),
    )


def _window(config: Any) -> int | None:
    """Tokens that a layer looks back at most; None where all of them see everything."""
    layers = getattr(config, "layer_types", None)
    if layers is not None and "sliding_attention" not in layers:
        return None
    if getattr(config, "use_sliding_window", True) is False:
        return None
    window = getattr(config, "sliding_window", None)
    return int(window) if window else None


def tensors(
    shape: Shape, state: Mapping[str, torch.Tensor], tied: bool, folder: str
) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor under llama.cpp's name, in the order of its rows.   tied: the head is the embedding, and is not written.

    Raises HeedError for weights that the shape has no name for: they would be lost.
    """
    names = _names(shape.layers)
    unknown = [name for name in state if name not in names]
    if unknown:
        raise HeedError(
            f"{len(unknown)} tensors have no place in the shape {shape.arch}: {', '.join(unknown[:3])}.",
            folder,
            "llama.cpp's own converter may know them: convert_hf_to_gguf.py FOLDER",
        )
    for theirs, ours in names.items():
        if theirs in state and not (tied and ours == "output.weight"):
            yield ours, turned(shape, ours, state[theirs])


def back(shape: Shape, found: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The reverse of `tensors`: transformers' names and order of rows."""
    names = {ours: theirs for theirs, ours in _names(shape.layers).items()}
    return {names[ours]: turned(shape, ours, tensor, back=True) for ours, tensor in found.items() if ours in names}


def turned(shape: Shape, name: str, tensor: torch.Tensor, back: bool = False) -> torch.Tensor:
    """Rows of queries and keys in llama.cpp's order, or `back` in transformers': (half, place) against (place, half)."""
    kind = name.split(".")[-2]
    if shape.arch not in TURNED or kind not in ("attn_q", "attn_k"):
        return tensor
    heads = shape.heads if kind == "attn_q" else shape.kv_heads
    halves = (shape.head_dim // 2, 2) if back else (2, shape.head_dim // 2)
    return tensor.reshape(heads, *halves, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape).contiguous()


def rope_factors(shape: Shape, model: PreTrainedModel) -> torch.Tensor | None:
    """What each frequency is divided by ([head_dim / 2], fp32), read off the model; None where the plain ones hold."""
    import torch

    if shape.rope != "llama3":
        return None
    actual = model.get_submodule("model.rotary_emb").inv_freq
    assert isinstance(actual, torch.Tensor)
    return (plain_frequencies(shape) / actual.cpu().double()).float()


def plain_frequencies(shape: Shape) -> torch.Tensor:
    """Turns per token of each pair in a head ([head_dim / 2], fp64), unscaled."""
    import torch

    place = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
    return 1.0 / shape.theta**place


def _names(layers: int) -> dict[str, str]:
    """transformers' name -> llama.cpp's, for every tensor that these shapes can have."""
    names = {theirs: ours for ours, theirs in _ENDS.items()}
    for layer in range(layers):
        for ours, theirs in _LAYER.items():
            for part in ("weight", "bias"):
                names[f"model.layers.{layer}.{theirs}.{part}"] = f"blk.{layer}.{ours}.{part}"
    return names
