"""Low-rank adapters through peft: put on where they can act, with a word about every matrix that got none."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from heedlm.errors import HeedError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from heedlm.config import LoraConfig

Say = Callable[[str], None]

# State-space layers whose kernels read the weight of this projection past any adapter; peft refuses them by name.
_STATE_SPACE = frozenset(("mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"))
_SHOWN = 6  # kinds of matrices named in one line


def add_adapter(
    model: PreTrainedModel,
    config: LoraConfig,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    added: Sequence[int] = (),
    say: Say = lambda line: None,
) -> PreTrainedModel:
    """The model with adapters on its linear layers; nothing else is trainable but what the configuration names.

    tokenizer: needed where `config.tokens` names some.   added: rows of the vocabulary that are new: trained as well.
    say: hears how many matrices got an adapter, which got none, and which adapters no gradient reaches.
    Raises HeedError for unknown names, and for targets that would break the tie of head and embedding.
    """
    import peft
    from transformers.pytorch_utils import Conv1D

    targets, parameters = _targets(model, config)
    whole, shared = _whole(model, config.modules_to_save)
    matrices = _matrices(model)
    turned = [isinstance(model.get_submodule(name), Conv1D) for name in targets]
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        use_rslora=config.rslora,
        use_dora=config.dora,
        target_modules=targets,
        target_parameters=parameters or None,
        modules_to_save=whole or None,
        trainable_token_indices=_rows(model, {*_ids(config.tokens, tokenizer), *added}, whole) or None,
        ensure_weight_tying=shared,  # without it peft gives a tied head a copy of its own, and the tie is lost in silence
        fan_in_fan_out=bool(turned) and all(turned),
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():  # of patterns that peft wrote itself, for experts it took other layers for
            warnings.filterwarnings("ignore", message=".*_pattern keys did not match", category=RuntimeWarning)
            adapted = cast("PreTrainedModel", peft.get_peft_model(model, settings))
    except (ValueError, TypeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise HeedError(
            f"peft cannot put these adapters on: {reason}", "model.lora", "--set model.lora.targets=[...]"
        ) from error
    _tell(adapted, matrices, say)
    _leave_out_unreached(adapted, say)
    return adapted


def tied_matrix(model: PreTrainedModel) -> nn.Parameter | None:
    """The matrix that serves as embedding and as head; None where each has its own."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    mine = getattr(head, "weight", None)
    return mine if mine is not None and mine is getattr(embedding, "weight", None) else None


def _targets(model: PreTrainedModel, config: LoraConfig) -> tuple[list[str], list[str]]:
    """Full names of the layers, and of the stacked expert matrices, that get an adapter."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    layers = {name: m for name, m in model.named_modules() if isinstance(m, (nn.Linear, Conv1D, nn.Embedding))}
    experts = [name for name, p in model.named_parameters() if p.ndim == 3 and "expert" in name and "bias" not in name]
    if config.targets == "all-linear":
        kind = str(model.config.model_type)
        chosen = [
            name
            for name, m in layers.items()
            if m is not head
            and not isinstance(m, nn.Embedding)
            and not (kind in _STATE_SPACE and name.endswith(".out_proj"))
        ]
        possible = not (config.dropout or config.dora)  # peft: neither can be computed for a stack of matrices
        return chosen, experts if possible else []
    names = _known(config.targets, [*layers, *experts], "targets")
    tied = tied_matrix(model)
    shared = [name for name in names if tied is not None and _matrix(model, name) is tied]
    if shared:
        # peft would train one adapter per use and merge both into the one matrix: other logits than in training.
        raise HeedError(
            f"{shared[0]} is head and embedding in one matrix, on which an adapter cannot be merged rightly.",
            "model.lora.targets",
            f"--set model.lora.modules_to_save=[{shared[0].rpartition('.')[2]}] trains that matrix in full; "
            "or --set model.method=full",
        )
    return [n for n in names if n in layers], [n for n in names if n not in layers]


def _known(asked: Iterable[str], names: Sequence[str], field: str) -> list[str]:
    """Full names that end in an asked one. Raises HeedError for one that matches nothing."""
    found: list[str] = []
    for name in asked:
        matching = [full for full in names if full == name or full.endswith(f".{name}")]
        if not matching:
            leaves = {leaf for full in names if not (leaf := full.rpartition(".")[2]).isdigit() and leaf}
            what = f"No layer of this model is called {name!r}."
            raise HeedError(what, f"model.lora.{field}", nearest(name, leaves))
        found += matching
    return list(dict.fromkeys(found))


def _matrix(model: nn.Module, name: str) -> nn.Parameter | None:
    """The weight of the layer of this name, or the parameter of this name."""
    owner, _, leaf = name.rpartition(".")
    part = getattr(model.get_submodule(owner), leaf)
    return part if isinstance(part, nn.Parameter) else getattr(part, "weight", None)


def _ids(tokens: Sequence[str], tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """Ids of tokens given as text. Raises HeedError for text that is not one token."""
    if not tokens:
        return []
    assert tokenizer is not None, "tokens are named by text: a tokenizer is needed"
    vocabulary = tokenizer.get_vocab()
    for token in tokens:
        if token not in vocabulary:
            special = [text for text in vocabulary if text.startswith("<") and text.endswith(">")]
            raise HeedError(f"{token!r} is not one token here.", "model.lora.tokens", nearest(token, special))
    return [vocabulary[token] for token in tokens]


def _whole(model: PreTrainedModel, asked: Sequence[str]) -> tuple[list[str], bool]:
    """Full names of the modules that train as a whole, and whether the matrix of a tied head is among them."""
    names = _known(asked, [name for name, _ in model.named_modules()], "modules_to_save")
    tied = tied_matrix(model)
    shared = [name for name in names if tied is not None and _matrix(model, name) is tied]
    if not shared:
        return names, False
    # peft knows the pair by the name of its head: a GPT-2 whose `wte` is named would lose its tie.
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    return [*(name for name in names if name not in shared), head], True


def _rows(model: PreTrainedModel, ids: Iterable[int], whole: Sequence[str]) -> dict[str, list[int]]:
    """Which rows of which matrices are trained: of the embedding, and of the head where it is another matrix.

    whole: modules that train as a whole, rows included.
    """
    rows = sorted(ids)
    tied = tied_matrix(model) is not None
    ends = [model.get_input_embeddings(), *([] if tied else [model.get_output_embeddings()])]
    names = [name for name, m in model.named_modules() if any(m is end for end in ends)]
    done = tied and any(_matrix(model, name) is tied_matrix(model) for name in whole)
    return {name: rows for name in names if rows and not done and name not in whole}


def _matrices(model: PreTrainedModel) -> dict[int, str]:
    """Every weight matrix between embedding and head, by identity: what adapters could act on."""
    outside = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    head = model.get_output_embeddings()
    outside |= {id(p) for p in head.parameters()} if head is not None else set()
    return {
        id(p): name.removesuffix(".weight")
        for name, p in model.named_parameters()
        if p.ndim >= 2 and id(p) not in outside and "bias" not in name
    }


def _tell(adapted: PreTrainedModel, matrices: Mapping[int, str], say: Say) -> None:
    """Say how many of the matrices have an adapter, and name the rest by kind."""
    from peft.tuners.lora.layer import LoraLayer, ParamWrapper

    covered: set[int] = set()
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            layer: Any = module
            part = layer.get_param() if isinstance(module, ParamWrapper) else layer.get_base_layer().weight
            covered.add(id(part))
    trained = {id(p) for p in adapted.parameters() if p.requires_grad}
    # Of a module that trains as a whole peft keeps the original beside the copy that learns.
    trained |= {
        id(p) for m in adapted.modules() if hasattr(m, "original_module") for p in m.original_module.parameters()
    }
    missed = Counter(_kind(name) for key, name in matrices.items() if key not in covered and key not in trained)
    have = sum(key in covered for key in matrices)
    line = f"adapters on {have:,} of {len(matrices):,} weight matrices between embedding and head"
    if missed:
        line += "; none on " + _listed(missed)
    say(line)


def _leave_out_unreached(adapted: PreTrainedModel, say: Say) -> None:
    """Freeze adapters that no gradient reaches, aloud: some layers read a weight without calling what holds it.

    An adapter's second matrix starts at zero and gets a gradient from any input that passes through it; one short
    document tells. Raises HeedError where none is reached.
    """
    ends = {name: p for name, p in adapted.named_parameters() if p.requires_grad and ".lora_B." in name}
    device = next(adapted.parameters()).device
    if not ends or device.type == "meta":
        return
    ids = torch.arange(9, device=device)[None] % adapted.config.get_text_config().vocab_size
    training = adapted.training
    adapted.eval()
    with torch.enable_grad():
        logits = adapted(input_ids=ids, use_cache=False).logits[0]
        loss = F.cross_entropy(logits[:-1].float(), ids[0, 1:])
    adapted.train(training)
    unknown = [None] * len(ends)
    gradients = torch.autograd.grad(loss, list(ends.values()), allow_unused=True) if loss.requires_grad else unknown
    silent = [name for name, g in zip(ends, gradients, strict=True) if g is None or not bool(g.any())]
    if len(silent) == len(ends):
        raise HeedError(
            "No gradient reaches any of these adapters: the model reads their weights without calling the layers.",
            "model.lora.targets",
            "--set model.lora.targets=all-linear, or --set model.method=full",
        )
    for name in silent:
        stem = name.partition(".lora_B.")[0]
        for other, parameter in adapted.named_parameters():
            if other.startswith(f"{stem}.lora_"):
                parameter.requires_grad_(False)
    if silent:
        stems = (name.partition(".lora_B.")[0].removeprefix("base_model.model.") for name in silent)
        say("no gradient reaches the adapters on " + _listed(Counter(map(_kind, stems))) + ": left as they are")


def _kind(name: str) -> str:
    return re.sub(r"\.\d+(?=\.|$)", ".*", name)


def _listed(kinds: Counter[str]) -> str:
    shown = [f"{kind} ({count:,})" for kind, count in kinds.most_common(_SHOWN)]
    rest = sum(count for _, count in kinds.most_common()[_SHOWN:])
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")
