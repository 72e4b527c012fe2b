"""The one loop: what a step computes, and what it refuses."""

import pytest
import torch
from torch.nn import functional as F

from heedlm.errors import HeedError
from heedlm.messages import Batch, Encoded
from heedlm.model import attention
from heedlm.tokens.loader import Loader
from heedlm.tokens.pack import pack
from heedlm.train.forward import Packing, attention_set_to, target_logits
from heedlm.train.loop import Position, Regime, StepReport, fit, validate
from heedlm.train.loss import Forward, LossSum, token_nll
from heedlm.train.optim import adamw
from tests.families import VOCABULARY, build


def sequences(count: int, *, seed: int = 0, weight: float = 1.0) -> list[Encoded]:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(4, 30, (count,), generator=generator).tolist()
    rows = [tuple(torch.randint(0, VOCABULARY, (n,), generator=generator).tolist()) for n in sizes]
    return [Encoded(row, (0.0, 0.0) + (weight,) * (len(row) - 2)) for row in rows]


def run(
    loader: Loader, steps: int, start: Position | None = None, **options: object
) -> tuple[torch.nn.Module, list[StepReport], Position]:
    torch.manual_seed(0)
    model = build("llama")
    reports: list[StepReport] = []

    def after(position: Position, report: StepReport) -> bool:
        reports.append(report)
        return True

    attention.register()
    with attention_set_to(model, attention.NAME):
        forward = target_logits(model, Packing(True, ""))
        regime = Regime(steps, lambda step: 1e-3, 1.0)
        end = fit(
            model,
            forward,
            lambda epoch: loader,
            adamw(model, 0.0),
            regime,
            after_step=after,
            start=start or Position(),
            **options,
        )  # type: ignore[arg-type]
    return model, reports, end


def test_cutting_a_step_into_micro_batches_changes_only_rounding() -> None:
    rows = sequences(24)
    _whole, whole_reports, _ = run(Loader(rows, 10_000, 10_000, 0), 1)
    _parts, part_reports, _ = run(Loader(rows, 10_000, 40, 0), 1)
    assert part_reports[0].loss == pytest.approx(whole_reports[0].loss, rel=1e-6)
    assert part_reports[0].grad_norm == pytest.approx(whole_reports[0].grad_norm, rel=1e-4)
    assert part_reports[0].learned_tokens == whole_reports[0].learned_tokens


def test_the_loss_of_a_step_is_the_mean_over_learned_tokens_not_a_mean_of_means() -> None:
    rows = [*sequences(3), Encoded((5, 6, 7), (0.0, 0.0, 1.0))]
    model = build("llama")
    forward = target_logits(model, Packing(False, ""))
    batch = pack(rows)
    with torch.no_grad():
        expected = float(F.cross_entropy(forward(batch), batch.target_id))
    _, reports, _ = run(Loader(rows, 10_000, 12, 0), 1)
    assert reports[0].loss == pytest.approx(expected, rel=1e-5)


def test_weights_weigh() -> None:
    rows = sequences(4)
    half = [Encoded(one.ids, tuple(0.5 * w for w in one.weights)) for one in rows]
    mixed = [*rows[:2], *half[2:]]
    _, plain, _ = run(Loader(rows, 10_000, 10_000, 0), 1)
    _, halved, _ = run(Loader(half, 10_000, 10_000, 0), 1)
    _, uneven, _ = run(Loader(mixed, 10_000, 10_000, 0), 1)
    assert halved[0].loss == pytest.approx(plain[0].loss, rel=1e-6)  # a common factor cancels
    assert uneven[0].loss != pytest.approx(plain[0].loss, rel=1e-6)


def test_the_same_run_twice_is_the_same_to_the_last_bit() -> None:
    first, first_reports, _ = run(Loader(sequences(20), 60, 40, 3), 6)
    second, second_reports, _ = run(Loader(sequences(20), 60, 40, 3), 6)
    assert [r.loss for r in first_reports] == [r.loss for r in second_reports]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_going_on_from_a_position_eats_the_batches_that_were_left() -> None:
    loader = Loader(sequences(20), 60, 60, 3)
    _, whole, end = run(loader, 9)
    _, rest, end_of_rest = run(loader, 9, start=Position(step=4, epoch=0, step_in_epoch=4))
    assert [r.tokens for r in rest] == [r.tokens for r in whole[4:]]
    assert (end.epoch, end.step_in_epoch) == (end_of_rest.epoch, end_of_rest.step_in_epoch)


def test_training_learns() -> None:
    _, reports, _ = run(Loader(sequences(8), 10_000, 10_000, 0), 30)
    assert reports[-1].loss < 0.6 * reports[0].loss


def test_a_step_with_nothing_learned_is_not_taken() -> None:
    dull = [Encoded((1, 2, 3), (0.0, 0.0, 0.0))] * 4
    rows = [*dull, *sequences(1)]
    _, reports, end = run(Loader(rows, 3, 3, 0), 2)
    assert len(reports) == 2  # five batches an epoch, one of them with something to learn
    assert end.step == 2


def test_another_objective_needs_no_second_loop() -> None:
    def squared(forward: Forward, batch: Batch) -> LossSum:
        result = token_nll(forward, batch)
        return LossSum(forward(batch).pow(2).mean(dim=-1).sum(), result.nll, result.correct)

    loader = Loader(sequences(6), 10_000, 10_000, 0)
    model, reports, _ = run(loader, 12, step_loss=squared)
    assert reports[-1].loss < reports[0].loss
    other, _, _ = run(loader, 12)
    assert not torch.equal(next(model.parameters()), next(other.parameters()))


def test_a_loss_that_is_not_finite_stops_with_the_step_and_leaves_the_weights() -> None:
    def broken(forward: Forward, batch: Batch) -> LossSum:
        result = token_nll(forward, batch)
        return LossSum(result.loss * float("nan"), result.nll, result.correct)

    with pytest.raises(HeedError, match="at step 0") as caught:
        run(Loader(sequences(3), 100, 100, 0), 2, step_loss=broken)
    assert "learning rate" in caught.value.problems[0].mend


def test_after_step_can_stop_the_run() -> None:
    model = build("llama")
    forward = target_logits(model, Packing(False, ""))
    loader = Loader(sequences(9), 40, 40, 0)
    end = fit(
        model,
        forward,
        lambda epoch: loader,
        adamw(model, 0.0),
        Regime(50, lambda s: 1e-3, 1.0),
        after_step=lambda p, r: p.step < 3,
    )
    assert end.step == 3


def test_validation_does_not_depend_on_how_it_is_batched() -> None:
    model = build("qwen3")
    forward = target_logits(model, Packing(False, ""))
    rows = sequences(16)
    results = [validate(model, forward, Loader(rows, size, size, 0)) for size in (30, 120, 10_000)]
    assert results[1].loss == pytest.approx(results[0].loss, rel=1e-6)
    assert results[2].loss == pytest.approx(results[0].loss, rel=1e-6)
    assert len({r.learned_tokens for r in results}) == 1
    assert results[0].accuracy == results[2].accuracy
