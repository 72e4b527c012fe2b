"""The GGUF file of a model: its one writer and its one reader here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from heedlm.errors import HeedError
from heedlm.exports.readings import Vocabulary
from heedlm.exports.shapes import Shape, back, plain_frequencies, rope_factors, tensors

if TYPE_CHECKING:
    import torch
    from gguf import GGUFReader, GGUFWriter
    from transformers import PreTrainedModel

Weights = Literal["f32", "f16", "bf16", "q8_0"]
WEIGHTS: tuple[Weights, ...] = ("f32", "f16", "bf16", "q8_0")
# gguf's own numbers for a file's kind, from llama.cpp's llama_ftype.
_FILE_TYPES: Mapping[str, int] = {"f32": 0, "f16": 1, "q8_0": 7, "bf16": 32}
_BLOCK = 32  # numbers in a block of Q8_0
_LARGEST_F16 = 65504.0
_ENDS = ("add_eos_token_id", "add_eot_token_id", "add_eom_token_id")


@dataclass(frozen=True, slots=True)
class Contents:
    """What a GGUF file says, without its tensors."""

    shape: Shape
    vocabulary: Vocabulary
    template: str


def check_gguf() -> None:
    """Raises HeedError where the package that knows the format is missing."""
    try:
        import gguf  # noqa: F401
    except ImportError:
        raise HeedError(
            "Writing GGUF needs the package gguf.", "heed export --to gguf", "pip install 'heedlm[gguf]'"
        ) from None


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    shape: Shape,
    vocabulary: Vocabulary,
    *,
    template: str,
    weights: Weights,
    about: Mapping[str, str],
    say: Callable[[str], None] = lambda line: None,
) -> tuple[str, ...]:
    """Write one file, tensor by tensor; returns what people should know.   about: name, license, description.

    Raises HeedError for weights beyond what the kind of number holds.
    """
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, shape.arch)
    _state(writer, shape, vocabulary, template, weights, about)
    state = dict(model.state_dict())
    tied = bool(model.config.tie_word_embeddings)
    factors = rope_factors(shape, model)
    planned = list(tensors(shape, state, tied, str(path)))
    if factors is not None:
        planned.append(("rope_freqs.weight", factors))
    kinds = {name: _kind(tensor, weights) for name, tensor in planned}
    coarse = sorted(name for name, kind in kinds.items() if kind != weights and kind == "f16")
    for name, tensor in planned:  # sizes first: the file's head names every tensor before the first one is written
        data = _numbers(tensor[:1] if tensor.ndim > 1 else tensor, kinds[name])
        size = data.nbytes * (tensor.shape[0] if tensor.ndim > 1 else 1)
        raw = GGMLQuantizationType[kinds[name].upper()]
        stored = (tensor.shape[0], data.shape[-1]) if tensor.ndim > 1 else data.shape
        writer.add_tensor_info(name, stored, data.dtype, size, raw_dtype=raw)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, tensor in planned:
            if kinds[name] == "f16" and float(tensor.float().abs().max()) > _LARGEST_F16:
                raise HeedError(f"{name} holds numbers that f16 cannot.", str(path), "--weights bf16, or f32")
            writer.write_tensor_data(_numbers(tensor, kinds[name]))
            say(name)
    finally:
        writer.close()
    if not coarse:
        return ()
    return (f"{len(coarse)} tensors have rows that are no whole number of blocks of {_BLOCK}: they are f16.",)


def _kind(tensor: torch.Tensor, weights: Weights) -> Weights:
    """llama.cpp wants vectors in fp32; a row that Q8_0 cannot cut into blocks becomes f16."""
    if tensor.ndim == 1:
        return "f32"
    return "f16" if weights == "q8_0" and tensor.shape[-1] % _BLOCK else weights


def _numbers(tensor: torch.Tensor, kind: Weights) -> Any:
    """The stored form: an array of numbers, or of bytes."""
    import numpy as np
    from gguf import GGMLQuantizationType, quantize

    values = tensor.detach().cpu().float().contiguous().numpy()
    if kind == "f32":
        return values
    return values.astype(np.float16) if kind == "f16" else quantize(values, GGMLQuantizationType[kind.upper()])


def _state(
    writer: GGUFWriter,
    shape: Shape,
    vocabulary: Vocabulary,
    template: str,
    weights: Weights,
    about: Mapping[str, str],
) -> None:
    """Everything that a file says before its tensors."""
    from gguf import GGML_QUANT_VERSION, RopeScalingType

    writer.add_type("model")
    for key, text in about.items():
        writer.add_string(f"general.{key}", text)
    writer.add_file_type(_FILE_TYPES[weights])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.eps)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.theta)
    if shape.rope == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(shape.factor)
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.kinds))
    if vocabulary.model == "gpt2":
        writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    else:
        writer.add_token_scores(list(vocabulary.scores))
        writer.add_add_space_prefix(vocabulary.add_space)
    for add, place in (
        (writer.add_bos_token_id, vocabulary.bos),
        (writer.add_unk_token_id, vocabulary.unknown),
        (writer.add_pad_token_id, vocabulary.pad),
        *((getattr(writer, name), place) for name, place in zip(_ENDS, vocabulary.ends, strict=False)),
    ):
        if place is not None:
            add(place)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(False)
    writer.add_chat_template(template)


def read_contents(path: Path) -> Contents:
    """What a file says, read from the disk by nothing but its own words."""
    from gguf import GGUFReader

    says = _says(GGUFReader(path))
    arch = says("general.architecture")
    tokens = tuple(says("tokenizer.ggml.tokens"))
    merges = says("tokenizer.ggml.merges", ())
    ends = (says(f"tokenizer.ggml.{name}_token_id", None) for name in ("eos", "eot", "eom"))
    vocabulary = Vocabulary(
        model=says("tokenizer.ggml.model"),
        pre=says("tokenizer.ggml.pre"),
        tokens=tokens,
        kinds=tuple(says("tokenizer.ggml.token_type")),
        merges=tuple((first, second) for first, second in (merge.split(" ", 1) for merge in merges)),
        scores=tuple(says("tokenizer.ggml.scores", ())),
        bos=says("tokenizer.ggml.bos_token_id", None),
        unknown=says("tokenizer.ggml.unknown_token_id", None),
        pad=says("tokenizer.ggml.padding_token_id", None),
        ends=tuple(place for place in ends if place is not None),
        add_bos=says("tokenizer.ggml.add_bos_token"),
        add_space=says("tokenizer.ggml.add_space_prefix", False),
    )
    shape = Shape(
        arch=arch,
        layers=says(f"{arch}.block_count"),
        hidden=says(f"{arch}.embedding_length"),
        inner=says(f"{arch}.feed_forward_length"),
        heads=says(f"{arch}.attention.head_count"),
        kv_heads=says(f"{arch}.attention.head_count_kv"),
        head_dim=says(f"{arch}.attention.key_length"),
        context=says(f"{arch}.context_length"),
        eps=says(f"{arch}.attention.layer_norm_rms_epsilon"),
        theta=says(f"{arch}.rope.freq_base"),
        rope=says(f"{arch}.rope.scaling.type", "default"),
        factor=says(f"{arch}.rope.scaling.factor", 1.0),
    )
    return Contents(shape, vocabulary, says("tokenizer.chat_template"))


_MISSING = object()


def _says(reader: GGUFReader) -> Callable[..., Any]:
    """Reads one field: `says(key)`, or `says(key, otherwise)`."""

    def says(key: str, otherwise: Any = _MISSING) -> Any:
        field = reader.get_field(key)
        if field is not None:
            return field.contents()
        assert otherwise is not _MISSING, f"the file does not state {key}"
        return otherwise

    return says


def read_model(path: Path) -> PreTrainedModel:
    """The model that a file holds, in fp32, built from what the file says and its tensors, brought back to numbers."""
    import torch
    import transformers
    from gguf import GGUFReader, dequantize

    shape = read_contents(path).shape
    found = {
        tensor.name: torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).astype("float32"))
        for tensor in GGUFReader(path).tensors
    }
    state = back(shape, found)
    tied = "lm_head.weight" not in state
    rope: dict[str, Any] = {"rope_type": shape.rope, "rope_theta": shape.theta}
    rope |= {"factor": shape.factor} if shape.rope == "linear" else {}
    given: dict[str, Any] = {
        "vocab_size": found["token_embd.weight"].shape[0],
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.eps,
        "rope_parameters": rope,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    if shape.arch != "qwen2":  # whose queries, keys and values always have a bias
        given["attention_bias"] = any(name.endswith("self_attn.q_proj.bias") for name in state)
    if shape.arch == "llama":
        given["mlp_bias"] = any(name.endswith("mlp.up_proj.bias") for name in state)
    kind = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[shape.arch]
    config = getattr(transformers, f"{kind}Config")(**given)
    model: PreTrainedModel = getattr(transformers, f"{kind}ForCausalLM")(config).float().eval()
    held = model.state_dict()
    state |= {"lm_head.weight": state["model.embed_tokens.weight"]} if tied else {}
    # A bias that the other projections have and this one lacks is none.
    state |= {name: torch.zeros_like(held[name]) for name in held if name.endswith(".bias") and name not in state}
    model.load_state_dict(state, strict=True)
    if "rope_freqs.weight" in found:
        factors = found["rope_freqs.weight"].double()
        model.get_submodule("model.rotary_emb").inv_freq = (plain_frequencies(shape) / factors).float()
    return model
