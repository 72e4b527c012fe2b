"""Products through the other library: the same numbers up to rounding, only while a model answers, only where they fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from heedlm.generate.chat import LocalChat, load_chat
from heedlm.generate.passes import serving
from heedlm.messages import Message, Request, Sampling
from heedlm.model import quick
from heedlm.model.quick import NARROWEST, Rounding, quick_products, rounded
from tests.families import checkpoint

LONG = {"max_position_embeddings": 512}
SMALL = 32  # inputs of the layers of the models here, which are to count as wide


def there() -> bool:
    """Whether this torch has oneDNN, whatever the processor."""
    try:
        quick.product(torch.ones(1, 2), torch.ones(3, 2), None, Rounding())
    except (AttributeError, RuntimeError):
        return False
    return True


pytestmark = pytest.mark.skipif(not there(), reason="this torch has no oneDNN")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "able", lambda: True)


def changed(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


@pytest.mark.usefixtures("able")
def test_wide_layers_change_for_as_long_as_it_lasts() -> None:
    model = nn.ModuleDict({"wide": nn.Linear(NARROWEST, 8), "narrow": nn.Linear(NARROWEST - 1, 8)})
    model["short"] = nn.Linear(NARROWEST, 8, dtype=torch.bfloat16)
    with quick_products(model):
        assert changed(model) == ["wide"]
        with quick_products(model):  # one inside the other, as a server that also scores
            assert changed(model) == ["wide"]
        assert changed(model) == ["wide"]
    assert changed(model) == []
    with pytest.raises(KeyError), quick_products(model):
        raise KeyError
    assert changed(model) == []


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize(
    "shape", [(5, NARROWEST), (2, 7, NARROWEST), (1, 1, NARROWEST), (0, 4, NARROWEST), (3, 67, NARROWEST), (NARROWEST,)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_the_numbers_are_the_same(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(NARROWEST, 48, bias=bias)
    x = torch.randn(shape)
    with torch.no_grad():
        plain = layer(x)
        with quick_products(layer):
            found = layer(x)
            turned = layer(x.transpose(0, 1)) if x.dim() == 3 else None
    assert found.shape == plain.shape
    assert torch.allclose(found, plain, rtol=1e-5, atol=1e-5)
    if turned is not None:
        assert torch.allclose(turned, plain.transpose(0, 1), rtol=1e-5, atol=1e-5)


def test_numbers_of_rows_are_few_and_hardly_more_than_there_are() -> None:
    """For each number that there is the library compiles, and keeps, a product."""
    found = [rounded(count) for count in range(4097)]
    assert found[:9] == list(range(9))
    assert all(count <= more for count, more in enumerate(found))
    assert all(more <= count + 64 + count // 8 for count, more in enumerate(found))
    assert found == sorted(found)
    assert [rounded(more) for more in found] == found
    assert len(set(found[1:2049])) == 38
    assert len(set(found[2049:])) == 8


@pytest.mark.usefixtures("able")
def test_layers_that_read_the_same_input_share_its_zeros() -> None:
    """And one that was changed in the meantime is another input."""
    rounding, x = Rounding(), torch.randn(3, 67, NARROWEST)
    rows = rounding.of(x)
    assert rows.shape == (256, NARROWEST)
    assert rounding.of(x) is rows
    assert rounding.of(x + 1)[0, 0] == x[0, 0, 0] + 1
    assert torch.equal(rounding.of(x)[: 3 * 67], x.view(-1, NARROWEST))
    rounding.of(x)
    x.add_(1)
    assert torch.equal(rounding.of(x)[: 3 * 67], x.view(-1, NARROWEST))
    with torch.inference_mode():
        y = torch.ones(9, NARROWEST)
        assert rounding.of(y).sum() == 9 * NARROWEST
        y.add_(1)
        assert rounding.of(y).sum() == 18 * NARROWEST


@pytest.mark.usefixtures("able")
def test_who_wants_a_gradient_or_autocast_has_the_usual_ones() -> None:
    layer = nn.Linear(NARROWEST, 4)
    x = torch.randn(3, NARROWEST, requires_grad=True)
    with quick_products(layer):
        layer(x).sum().backward()
        assert x.grad is not None
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16


def test_a_layer_with_a_forward_pass_of_its_own_keeps_it(able: None, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(NARROWEST, 4)
    monkeypatch.setattr(layer, "forward", lambda x: x)
    with quick_products(layer), torch.no_grad():
        assert layer(torch.ones(1, NARROWEST)).shape == (1, NARROWEST)
    assert changed(layer) == [""]


def test_other_machines_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(NARROWEST, 4)
    for maker, capability in (("GenuineIntel", "AVX512"), ("", "AVX512"), ("AuthenticAMD", "AVX2")):
        monkeypatch.setattr(quick, "_maker", lambda maker=maker: maker)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        assert not quick.able.__wrapped__()
    monkeypatch.setattr(quick, "able", lambda: False)
    with quick_products(layer):
        assert changed(layer) == []


def test_a_torch_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*given: object) -> torch.Tensor:
        raise AttributeError("no such function")

    monkeypatch.setattr(quick, "_maker", lambda: "AuthenticAMD")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(quick, "product", missing)
    assert not quick.able.__wrapped__()


@pytest.mark.usefixtures("able")
def test_a_narrow_model_is_left_alone(tmp_path: Path) -> None:
    """Also those of its layers that have many inputs: the model that ships answers as it always did."""
    checkpoint(tmp_path / "model", intermediate_size=NARROWEST + 8)
    chat = load_chat(tmp_path / "model", device="cpu")
    with serving(chat.model):
        assert changed(chat.model) == []
    atlas = load_chat("atlas", device="cpu")
    with serving(atlas.model):
        assert changed(atlas.model) == []


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> LocalChat:
    folder = tmp_path_factory.mktemp("wide")
    checkpoint(folder / "model", **LONG)
    return load_chat(folder / "model", device="cpu")


def requests() -> list[Request]:
    words = ["the", "capital", "of", "a", "long", "country", "is", "not", "what", "it", "was", "before", "noon"]
    texts = [" ".join((words * 4)[: 3 + 5 * n]) for n in range(8)]
    return [Request(text=text) for text in texts[:4]] + [
        Request(messages=(Message("user", text),)) for text in texts[4:]
    ]


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_greedy_replies_and_likelihoods_do_not_change(
    wide: LocalChat, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """In any batch: the tokens of the usual products, log-probabilities to 1e-4."""
    asked, sampling = requests(), Sampling(max_tokens=16)
    monkeypatch.setattr(quick, "able", lambda: False)
    wide.batch_size = 64
    before = wide.reply(asked, sampling)
    scored = wide.score(asked, [" Paris is it."] * len(asked))
    monkeypatch.setattr(quick, "able", lambda: True)
    monkeypatch.setattr(quick, "NARROWEST", SMALL)
    wide.batch_size = batch
    with serving(wide.model):
        assert len(changed(wide.model)) > 4
    after = wide.reply(asked, sampling)
    assert [reply.ids for reply in after] == [reply.ids for reply in before]
    for one, other in zip(after, before, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    for mine, theirs in zip(wide.score(asked, [" Paris is it."] * len(asked)), scored, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)
    assert changed(wide.model) == []


def test_adapters_go_through_as_well(tmp_path: Path, able: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wide base below an adapter is quick, the adapter's narrow matrices are as they were."""
    peft = pytest.importorskip("peft")
    monkeypatch.setattr(quick, "NARROWEST", SMALL)
    checkpoint(tmp_path / "model", **LONG)
    chat = load_chat(tmp_path / "model", device="cpu")
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    model = peft.get_peft_model(chat.model, settings).eval()
    ids = torch.arange(40, 60)[None]
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        with quick_products(model):
            assert any(name.endswith("q_proj.base_layer") for name in changed(model))
            found = model(input_ids=ids).logits
    assert torch.allclose(found, plain, atol=1e-4)
