"""Operations of a step against counting by hand, and against torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from heedlm.messages import Encoded
from heedlm.model import attention
from heedlm.tokens.pack import pack
from heedlm.tokens.prefix import Tree
from heedlm.train.forward import Packing, attention_set_to, target_logits
from heedlm.train.loss import token_nll
from heedlm.train.meter import Meter, matrix_ceiling, work_of
from tests.families import build


def one(size: int, learned: int) -> Encoded:
    return Encoded(tuple(range(size)), (0.0,) * (size - learned) + (1.0,) * learned)


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "neox"])
def test_linear_layers_and_head_agree_with_torch_counting(name: str) -> None:
    model = build(name)
    attention.register()
    batch = pack([one(48, 10), one(32, 32)])
    with attention_set_to(model, attention.NAME), FlopCounterMode(display=False) as counter:
        target_logits(model, Packing(True, ""))(batch).sum().backward()
    counted = counter.get_flop_counts()["Global"]
    linear = sum(n for op, n in counted.items() if "bmm" not in str(op))
    work = work_of(model)
    ours = work.per_token * len(batch.ids) + work.per_target * len(batch.target_id)
    # The first layer's input needs no gradient of its own; everything else is the same count.
    assert ours == pytest.approx(linear, rel=0.12)
    assert ours >= linear


def test_pairs_count_prefixes_and_windows() -> None:
    work = work_of(build("llama"))._replace(per_token=0.0, per_target=0.0, per_pair=1.0)
    assert work.of(pack([one(4, 1), one(3, 1)])) == 10 + 6
    branches = [Encoded((*range(20), 30 + n), (1.0,) * 21) for n in range(2)]
    tree = pack(branches, trees=[Tree((0, 1), 20)])
    assert work.of(tree) == 210 + 2 * (20 + 1)
    assert work._replace(window=2).of(pack([one(4, 1)])) == 8


def test_frozen_weights_cost_two_thirds_and_experts_only_when_met() -> None:
    model = build("llama")
    before = work_of(model)
    model.requires_grad_(False)
    assert work_of(model).per_token == pytest.approx(before.per_token * 4 / 6)
    mixtral = build("mixtral")
    everything = 6 * sum(
        p.numel() for n, p in mixtral.named_parameters() if p.dim() > 1 and "embed" not in n and "head" not in n
    )
    assert work_of(mixtral).per_token < everything


def test_the_ceiling_is_a_rate_this_machine_can_have() -> None:
    assert 1e8 < matrix_ceiling(torch.device("cpu"), torch.float32, seconds=0.01) < 1e15


def test_a_meter_counts_what_passes_through_it() -> None:
    model = build("llama")
    meter = Meter(model, torch.float32)
    objective = meter.watching(token_nll)
    forward = target_logits(model, Packing(False, ""))
    batches = [pack([one(9, 3)]), pack([one(5, 5), one(7, 1)])]
    assert [float(objective(forward, batch).loss.detach()) for batch in batches] == [
        float(token_nll(forward, batch).loss.detach()) for batch in batches
    ]
    assert meter.take() == sum(work_of(model).of(batch) for batch in batches)
    assert meter.take() == 0.0
    assert meter.ceiling > 1e8


def test_a_model_without_attention_heads_can_be_metered() -> None:
    assert work_of(build("mamba")).per_token > 0
