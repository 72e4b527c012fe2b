"""Packed rows against one document at a time, for every family."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heedlm.messages import Encoded
from heedlm.model import attention
from heedlm.tokens.pack import pack
from heedlm.tokens.prefix import Tree
from heedlm.train.forward import Packing, attention_set_to, target_logits
from heedlm.train.loss import Forward, token_nll
from heedlm.train.probe import choose_packing
from tests.families import FAMILIES, VOCABULARY, build

PACKS = ("gemma2", "gemma3", "gpt2", "llama", "mistral", "mixtral", "neox", "opt", "phi3", "qwen2", "qwen3")
PADS = ("bloom", "gptj", "lfm2", "mamba", "qwen3_5")


def documents(*sizes: int) -> list[Encoded]:
    generator = torch.Generator().manual_seed(3)
    rows = [tuple(torch.randint(0, VOCABULARY, (n,), generator=generator).tolist()) for n in sizes]
    return [Encoded(row, (0.0,) * (len(row) // 2) + (1.0,) * (len(row) - len(row) // 2)) for row in rows]


def loss_and_gradients(
    model: torch.nn.Module, packing: Packing, rows: list[list[Encoded]], trees: list[Tree] | None = None
) -> tuple[float, dict[str, torch.Tensor]]:
    forward = target_logits(model, packing)  # type: ignore[arg-type]
    model.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        batch = pack(row, trees=trees)
        logits = forward(batch)
        nll = torch.nn.functional.cross_entropy(logits, batch.target_id, reduction="none")
        loss = (nll * batch.target_weight).sum()
        loss.backward()
        total += loss.detach().double()
    return float(total), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_two_lists_name_every_family() -> None:
    assert sorted((*PACKS, *PADS)) == sorted(FAMILIES)


@pytest.mark.parametrize("name", PACKS)
def test_packed_equals_unpacked_in_loss_and_every_gradient(name: str) -> None:
    model = build(name)
    assert choose_packing(model).packed, choose_packing(model).reason
    rows = documents(9, 3, 30, 2, 17)
    alone, alone_gradients = loss_and_gradients(model, Packing(False, ""), [[row] for row in rows])
    with attention_set_to(model, attention.NAME):
        packed, gradients = loss_and_gradients(model, Packing(True, ""), [rows])
    assert packed == pytest.approx(alone, rel=1e-6)
    assert_same(gradients, alone_gradients)


def assert_same(gradients: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Every gradient within 1e-4 of its largest element."""
    assert gradients.keys() == expected.keys()
    largest = max(float(g.abs().max()) for g in expected.values())
    for key, gradient in gradients.items():
        # A key bias has no gradient at all (softmax does not see it): there only rounding is left, hence the floor.
        scale = max(float(expected[key].abs().max()), 1e-2 * largest)
        assert float((gradient - expected[key]).abs().max()) <= 1e-4 * scale, key


def branches(prefix: int, *sizes: int, seed: int = 5) -> list[Encoded]:
    """Sequences that begin with the same `prefix` tokens; some tokens of the prefix are learned by every second one."""
    generator = torch.Generator().manual_seed(seed)
    head = tuple(torch.randint(0, VOCABULARY, (prefix,), generator=generator).tolist())
    made = []
    for number, size in enumerate(sizes):
        ids = head + tuple(torch.randint(0, VOCABULARY, (size,), generator=generator).tolist())
        weights = [float(number % 2) * (place % 3 == 0) for place in range(prefix)] + [1.0] * size
        made.append(Encoded(ids, tuple(weights)))
    return made


@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("name", PACKS)
def test_a_shared_prefix_equals_every_sequence_alone(name: str, checkpointed: bool) -> None:
    model = build(name)
    assert choose_packing(model).shares
    rows = [*branches(21, 9, 1, 30, 4), *branches(6, 5, 5, seed=8), *documents(11)]
    trees = [Tree((0, 1, 2, 3), 21), Tree((6,), 0), Tree((4, 5), 6)]
    alone, expected = loss_and_gradients(model, Packing(False, ""), [[row] for row in rows])
    if checkpointed:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    with attention_set_to(model, attention.NAME):
        shared, gradients = loss_and_gradients(model, Packing(True, ""), [rows], trees)
    assert shared == pytest.approx(alone, rel=1e-6)
    assert_same(gradients, expected)


def test_a_branch_does_not_see_its_sisters() -> None:
    model = build("llama")
    rows = branches(20, 6, 7)
    other = [
        Encoded(tuple((i + 1) % VOCABULARY if at >= 20 else i for at, i in enumerate(rows[0].ids)), (1.0,) * 26),
        rows[1],
    ]
    trees = [Tree((0, 1), 20)]
    attention.register()
    with attention_set_to(model, attention.NAME), torch.no_grad():
        forward = target_logits(model, Packing(True, ""))
        assert torch.equal(forward(pack(rows, trees=trees))[-7:], forward(pack(other, trees=trees))[-7:])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"attention_dropout": 0.1}, "branches would share the draw"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "factors follow the length"),
    ],
)
def test_sharing_is_off_where_it_would_change_the_result(change: dict[str, object], why: str) -> None:
    model = build("llama")
    for key, value in change.items():
        setattr(model.config, key, value)
    packing = choose_packing(model)
    assert packing.packed, why
    assert not packing.shares, why


@pytest.mark.parametrize("name", PACKS)
def test_head_and_loss_in_parts_equal_all_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(name)
    packing = choose_packing(model)
    assert packing.splits
    batch = pack(documents(9, 3, 30, 2, 17))

    def measured(forward: Forward) -> tuple[float, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad()
        with attention_set_to(model, attention.NAME):
            result = token_nll(forward, batch)
        (result.loss / 7).backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        return float(result.loss.detach()), result.nll, result.correct, gradients

    whole = measured(target_logits(model, packing._replace(splits=False)))
    monkeypatch.setattr("heedlm.train.forward.HEAD_ELEMENTS", 5 * model.config.get_text_config().vocab_size)
    forward = target_logits(model, packing)
    assert forward.part == 5
    assert len(batch.target_id) % 5, "the last part is a short one"
    parts = measured(forward)
    assert parts[0] == pytest.approx(whole[0], rel=1e-6)
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-5, atol=1e-6)
    assert torch.equal(parts[2], whole[2])
    assert_same(parts[3], whole[3])


def test_parts_without_gradients_for_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("gemma2")
    packing = choose_packing(model)
    batch = pack(documents(9, 30))
    monkeypatch.setattr("heedlm.train.forward.HEAD_ELEMENTS", 4 * model.config.vocab_size)
    with attention_set_to(model, attention.NAME), torch.no_grad():
        parts = token_nll(target_logits(model, packing), batch)
        whole = token_nll(target_logits(model, packing._replace(splits=False)), batch)
    torch.testing.assert_close(parts.nll, whole.nll, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PADS)
def test_an_architecture_that_cannot_pack_falls_back_and_says_why(name: str) -> None:
    model = build(name)
    packing = choose_packing(model)
    assert not packing.packed
    assert packing.reason.startswith("padded rows: ")
    assert type(model).__name__ in packing.reason


@pytest.mark.parametrize("name", ["bloom", "gptj", "lfm2", "qwen3_5", "llama"])
def test_padded_rows_give_what_each_document_gives_alone(name: str) -> None:
    model = build(name)
    rows = documents(9, 3, 20)
    together, _ = loss_and_gradients(model, Packing(False, ""), [rows])
    alone, _ = loss_and_gradients(model, Packing(False, ""), [[row] for row in rows])
    assert together == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "mistral"])
def test_changing_one_document_moves_nothing_in_its_neighbour(name: str) -> None:
    model = build(name)
    first, second = documents(12, 8)
    other = Encoded(tuple((i + 1) % VOCABULARY for i in first.ids), first.weights)
    attention.register()
    with attention_set_to(model, attention.NAME), torch.no_grad():
        forward = target_logits(model, Packing(True, ""))
        own = int(sum(w > 0 for w in second.weights))
        assert torch.equal(forward(pack([first, second]))[-own:], forward(pack([other, second]))[-own:])


def test_filler_in_bf16_changes_nothing() -> None:
    model = build("llama")
    rows = documents(12, 8)
    with attention_set_to(model, attention.NAME), torch.no_grad():
        forward = target_logits(model, Packing(True, ""))
        exact = forward(pack(rows))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = forward(pack(rows))
    assert rounded.shape == exact.shape
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.1 * float(exact.abs().max()))


def test_the_setting_of_attention_is_put_back_even_after_an_error() -> None:
    model = build("llama")
    before = model.config._attn_implementation
    with pytest.raises(RuntimeError), attention_set_to(model, "anything"):
        assert model.config._attn_implementation == "anything"
        raise RuntimeError
    assert model.config._attn_implementation == before


@settings(max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_a_layout_holds_every_token_once_and_little_padding(lengths: list[int]) -> None:
    starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    made = attention.layout(starts)
    tokens = torch.cat([group.tokens for group in made.groups])
    assert sorted(tokens.tolist()) == list(range(sum(lengths)))
    places = [torch.zeros(group.num_docs * group.width) for group in made.groups]
    for group, place in zip(made.groups, places, strict=True):
        place[group.places] += 1
    assert all(place.max() == 1 for place in places)
    rounding = 15 * len(lengths)
    assert sum(group.num_docs * group.width for group in made.groups) <= sum(lengths) / 0.75 + 1 + rounding
    assert all(group.width % 16 == 0 for group in made.groups)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "window", "softcap", "sink"),
    [(4, 2, None, None, False), (4, 4, 3, None, False), (4, 2, None, 5.0, False), (4, 1, 5, None, True)],
)
def test_attention_against_its_definition(
    heads: int, kv_heads: int, window: int | None, softcap: float | None, sink: bool
) -> None:
    """Two documents in one row against softmax written out per document, with windows, caps and sinks."""
    generator = torch.Generator().manual_seed(0)
    sizes = (7, 11)
    q, k, v = (
        torch.randn(1, h, sum(sizes), 8, generator=generator, dtype=torch.float64) for h in (heads, kv_heads, kv_heads)
    )
    sinks = torch.randn(heads, generator=generator, dtype=torch.float64) if sink else None
    module = torch.nn.Module()
    made = attention.layout(torch.tensor([0, sizes[0], sum(sizes)], dtype=torch.int32))
    out, _ = attention.packed_attention(
        module, q, k, v, None, sliding_window=window, softcap=softcap, s_aux=sinks, heed_layout=made
    )
    at = 0
    for size in sizes:
        for head in range(heads):
            scores = q[0, head, at : at + size] @ k[0, head // (heads // kv_heads), at : at + size].T * 8**-0.5
            if softcap is not None:
                scores = torch.tanh(scores / softcap) * softcap
            distance = torch.arange(size)[:, None] - torch.arange(size)[None, :]
            hidden = (distance < 0) | (distance >= window if window is not None else False)
            scores = scores.masked_fill(hidden, float("-inf"))
            if sinks is not None:
                scores = torch.cat([scores, sinks[head].expand(size, 1)], dim=1)
            expected = scores.softmax(-1)[:, :size] @ v[0, head // (heads // kv_heads), at : at + size]
            torch.testing.assert_close(out[0, at : at + size, head], expected, rtol=1e-6, atol=1e-6)
        at += size


def test_the_kernel_for_long_documents_agrees_with_the_products_for_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("mistral")
    rows = documents(40, 12)
    with attention_set_to(model, attention.NAME):
        short, short_gradients = loss_and_gradients(model, Packing(True, ""), [rows])
        monkeypatch.setattr(attention, "_MANUAL_UP_TO", 0)
        long, long_gradients = loss_and_gradients(model, Packing(True, ""), [rows])
    assert long == pytest.approx(short, rel=1e-6)
    for key, gradient in short_gradients.items():
        torch.testing.assert_close(long_gradients[key], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))
