"""Norms and gated products that keep less for the backward pass, and give what the model's own code gives to the last bit.

A root-mean-square norm written with tensor operations keeps its input, its normalised input and, under autocast, a cast of
its output for every matrix that reads it; all of it follows from the input and one number per token. A gated product keeps
the activated gate, which follows from the gate. Here both are one function with its gradient written out.
Norm: Zhang and Sennrich 2019 (arXiv:1910.07467), equation 4; gate: Shazeer 2020 (arXiv:2002.05202), SwiGLU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Whatever reads these norms is a matrix product, which autocast would have given a narrow copy of its own.
_READ_BY_PRODUCTS = ("input_layernorm", "post_attention_layernorm")
_GRADIENT_TOLERANCE = 1e-5  # relative, fp32, of the gradient written out against the recorded one
# An embedding's gradient is a matrix of the vocabulary's size, nearly all zeros. From this many elements on (64 MB) the rows
# that were read are added where the gradient of a tied head already lies.
LARGE_EMBEDDING = 2**24
# What is tried in turn: norms with narrow outputs, norms as they are, gated products.
_ATTEMPTS = ((True, False, True), (False, True, True), (False, True, False), (False, False, True))


class _Norm(torch.autograd.Function):
    """weight * x / rms(x) over the last axis; `shift` is added to the weight (Gemma stores it less one)."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float, shift: bool, dtype: torch.dtype
    ) -> torch.Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        ctx.shift = shift
        return _scaled(wide * scale, x.dtype, weight, shift).to(dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        grad = grads[0].float()
        normed = x.float() * scale
        axes = tuple(range(x.dim() - 1))
        d_weight = (grad * normed).sum(axes).to(weight.dtype) if ctx.needs_input_grad[1] else None
        grad = grad * (weight.float() + 1.0 if ctx.shift else weight.float())
        d_x = (grad - normed * (grad * normed).mean(-1, keepdim=True)) * scale
        return d_x.to(x.dtype), d_weight, None, None, None


def _scaled(normed: torch.Tensor, dtype: torch.dtype, weight: torch.Tensor, shift: bool) -> torch.Tensor:
    return (normed * (1.0 + weight.float())).to(dtype) if shift else weight * normed.to(dtype)


class _Gate(torch.autograd.Function):
    """silu(gate) * up, keeping its two inputs only."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grads[0] * up, gate), F.silu(gate).mul_(grads[0])


class _GatedDown(torch.autograd.Function):
    """(silu(gate) * up) @ weight.T, which keeps neither the product nor the weight's cast: both are made again."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up, weight)
        hidden = F.silu(gate).mul_(up)
        with torch.autocast(gate.device.type, enabled=False):
            return F.linear(hidden, weight.to(hidden.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        gate, up, weight = ctx.saved_tensors
        grad, activated, d_weight = grads[0], F.silu(gate), None
        with torch.autocast(gate.device.type, enabled=False):
            if ctx.needs_input_grad[2]:
                d_weight = grad.flatten(0, -2).t() @ (activated * up).flatten(0, -2)
                d_weight = d_weight.to(weight.dtype)
            d_hidden = grad @ weight.to(grad.dtype)
        return torch.ops.aten.silu_backward(d_hidden * up, gate), activated.mul_(d_hidden), d_weight


class _Linear(torch.autograd.Function):
    """x @ weight.T + bias in the dtype of x, which makes the weight's cast again instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(
        ctx: Any, *grads: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grads[0]
        rows = grad.flatten(0, -2)
        with torch.autocast(x.device.type, enabled=False):
            d_x = grad @ weight.to(grad.dtype) if ctx.needs_input_grad[0] else None
            d_weight = (rows.t() @ x.flatten(0, -2)).to(weight.dtype) if ctx.needs_input_grad[1] else None
            d_bias = rows.sum(0).to(weight.dtype) if ctx.needs_input_grad[2] else None
        return d_x, d_weight, d_bias


class _Rows(torch.autograd.Function):
    """Rows `ids` of an embedding, whose gradient is added to `weight.grad` row by row.

    The weight itself is no input: autograd would hold a tied head's gradient back until this one came, in a matrix of its
    own. `anchor` is a scalar that asks for a gradient and gets none.
    """

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, ids: torch.Tensor, module: nn.Embedding) -> torch.Tensor:
        ctx.save_for_backward(ids)
        ctx.module = module
        return F.embedding(ids, module.weight)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, None, None]:
        weight, padding = ctx.module.weight, ctx.module.padding_idx
        ids, rows = ctx.saved_tensors[0].flatten(), grads[0].flatten(0, -2).to(weight.dtype)
        if padding is not None:
            kept = ids != padding
            ids, rows = ids[kept], rows[kept]
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        # index_add_ adds in order on a CPU; on a GPU only index_put_ does.
        if ids.device.type == "cpu":
            weight.grad.index_add_(0, ids, rows)
        else:
            weight.grad.index_put_((ids,), rows, accumulate=True)
        return None, None, None


def keep_no_casts(layers: Sequence[nn.Module], on: bool) -> None:
    """Make the plain matrices of `layers` keep no narrow copy of themselves from forward to backward pass, or undo that.

    Autocast makes one copy of a weight and keeps it until the backward pass is through: half of the weights' size. Making
    it again costs some hundredths of a step, so it is done where layers are computed again to save memory.
    """
    for layer in layers:
        for module in layer.modules():
            if type(module) is not nn.Linear:
                continue
            if on and "forward" not in vars(module):
                module.forward = MethodType(_linear_forward, module)  # type: ignore[method-assign]
            elif not on and getattr(vars(module).get("forward"), "__func__", None) is _linear_forward:
                del module.forward


def _linear_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    kind = x.device.type
    if not (torch.is_grad_enabled() and torch.is_autocast_enabled(kind) and x.is_floating_point()):
        return nn.Linear.forward(self, x)
    return _Linear.apply(x.to(torch.get_autocast_dtype(kind)), self.weight, self.bias)  # type: ignore[no-untyped-call, no-any-return]


def make_lean(model: PreTrainedModel, precision: torch.dtype) -> str:
    """Give norms, gated products and large embeddings of `model` these forms; what was done, in words.

    Norms and products only where that changes no logit; an embedding looks its rows up as before.
    precision: of the products in training. Serving, without gradients, goes on through the model's own code.
    """
    return "; ".join(filter(None, (_lean_layers(model, precision), _lean_embeddings(model))))


def make_plain(model: nn.Module) -> None:
    """Give every module of `model` its own code back."""
    for module in model.modules():
        written = getattr(vars(module).get("forward"), "__func__", None)
        if written is not None and written.__module__ == __name__:
            del module.forward


def _lean_layers(model: PreTrainedModel, precision: torch.dtype) -> str:
    norms = list(_norms(model))
    gates = [module for module in model.modules() if _is_gated(module)]
    if not norms and not gates:
        return ""
    before = _logits(model, precision)
    for narrow, wide, gated in _ATTEMPTS:
        put = _put_norms(norms, narrow) if narrow or wide else []
        put += _put_gates(gates) if gated else []
        if put and all(torch.equal(one, other) for one, other in zip(before, _logits(model, precision), strict=True)):
            kinds = [f"{len(norms)} norms"] * bool(norms and (narrow or wide))
            kinds += [f"{len(gates)} gated products"] * bool(gates and gated)
            return f"{' and '.join(kinds)} keep less for the backward pass (logits equal to the last bit)"
        for module in put:
            del module.forward
    return "norms and gated products as the model's own code has them: leaner ones gave other logits"


def _lean_embeddings(model: nn.Module) -> str:
    """Large ones whose gradient is plainly a sum of rows."""
    count = 0
    for module in model.modules():
        if not isinstance(module, nn.Embedding) or type(module) is not nn.Embedding:  # others scale what they look up
            continue
        plain = module.max_norm is None and not (module.sparse or module.scale_grad_by_freq)
        if plain and module.weight.numel() >= LARGE_EMBEDDING:
            module.forward = MethodType(_rows_forward, module)  # type: ignore[method-assign]
            count += 1
    return "the embedding's gradient is added row by row" if count else ""


def _rows_forward(self: Any, ids: torch.Tensor) -> torch.Tensor:
    spread = (
        torch.distributed.is_available() and torch.distributed.is_initialized()
    )  # engines watch autograd's gradients
    if spread or not (torch.is_grad_enabled() and self.weight.requires_grad):
        return nn.Embedding.forward(self, ids)
    return _Rows.apply(torch.zeros((), requires_grad=True), ids, self)  # type: ignore[no-untyped-call, no-any-return]


def _put_norms(norms: Sequence[tuple[str, nn.Module, bool]], narrow: bool) -> list[nn.Module]:
    for name, module, shift in norms:
        module.forward = MethodType(_norm_forward(shift, narrow and name.endswith(_READ_BY_PRODUCTS)), module)
    return [module for _, module, _ in norms]


def _put_gates(gates: Sequence[nn.Module]) -> list[nn.Module]:
    for module in gates:
        module.forward = MethodType(_gated_forward, module)
    return list(gates)


def _norms(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """(name, module, shift) of the norms whose class does what `_Norm` does."""
    known: dict[type, bool | None] = {}
    for name, module in model.named_modules():
        kind = type(module)
        if not kind.__name__.endswith("RMSNorm") or not isinstance(getattr(module, "weight", None), nn.Parameter):
            continue
        if kind not in known:
            known[kind] = next((shift for shift in (False, True) if _same(module, shift)), None)
        shift = known[kind]
        if shift is not None:
            yield name, module, shift


def _eps(module: nn.Module) -> float:
    return float(getattr(module, "variance_epsilon", getattr(module, "eps", 0.0)))


def _same(module: nn.Module, shift: bool) -> bool:
    """Whether a norm's own forward pass and gradients are those of `_Norm`, in fp32."""
    generator = torch.Generator().manual_seed(0)
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    x, grad = (torch.randn(2, 3, weight.shape[-1], generator=generator).to(weight.device) for _ in range(2))
    results = []
    for forward in (module, MethodType(_norm_forward(shift, False), module)):
        given = x.clone().requires_grad_()
        with torch.enable_grad():
            out = forward(given)
            wanted = [given, weight] if weight.requires_grad else [given]
            results.append((out, *torch.autograd.grad(out, wanted, grad)))
    (out, *own), (lean, *written) = results
    close = (
        float((a - b).abs().max()) <= _GRADIENT_TOLERANCE * float(a.abs().max())
        for a, b in zip(own, written, strict=True)
    )
    return torch.equal(out, lean) and all(close)


def _norm_forward(shift: bool, narrow: bool) -> Callable[..., torch.Tensor]:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return type(self).forward(self, x)  # type: ignore[no-any-return]
        wide = x.dtype if shift else torch.promote_types(x.dtype, self.weight.dtype)
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if narrow and torch.is_autocast_enabled(kind) else wide
        return _Norm.apply(x, self.weight, _eps(self), shift, dtype)  # type: ignore[no-untyped-call, no-any-return]

    return forward


def _is_gated(module: nn.Module) -> bool:
    from transformers.activations import SiLUActivation

    parts = all(isinstance(getattr(module, name, None), nn.Module) for name in ("gate_proj", "up_proj", "down_proj"))
    return parts and isinstance(getattr(module, "act_fn", None), (nn.SiLU, SiLUActivation))


def _gated_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    if not torch.is_grad_enabled():
        return type(self).forward(self, x)  # type: ignore[no-any-return]
    gate, up, down = self.gate_proj(x), self.up_proj(x), self.down_proj
    # An adapter or a hook around the last matrix has to be called; a plain one is part of the function.
    plain = type(down) is nn.Linear and not (down._forward_hooks or down._forward_pre_hooks)
    if (
        plain
        and getattr(down, "bias", None) is None
        and getattr(vars(down).get("forward"), "__func__", None) in (None, _linear_forward)
    ):
        return _GatedDown.apply(gate, up, down.weight)  # type: ignore[no-untyped-call, no-any-return]
    hidden = _Gate.apply(gate, up)  # type: ignore[no-untyped-call]
    return down(hidden)  # type: ignore[no-any-return]


def _logits(model: PreTrainedModel, precision: torch.dtype) -> list[torch.Tensor]:
    """Logits of a few random tokens in fp32 and in the precision of training, by the paths that training takes."""
    config, device = model.config.get_text_config(), next(model.parameters()).device
    ids = torch.randint(0, config.vocab_size, (1, 12), generator=torch.Generator().manual_seed(0)).to(device)
    was_training, found = model.training, []
    model.eval()
    try:
        for dtype in dict.fromkeys((torch.float32, precision)):
            with torch.enable_grad(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                found.append(model(input_ids=ids, use_cache=False).logits.detach())
    finally:
        model.train(was_training)
    return found
