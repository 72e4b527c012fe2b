"""The objective against a plain computation of the same divergence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from heedlm.instructions.bake.objective import Wanted, divergence_from, divergences
from heedlm.instructions.bake.targets import likeliest
from heedlm.messages import Batch
from heedlm.train.loss import Forward


def coarse(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Probabilities of named tokens and of all others as one, in float64."""
    p = logits.double().softmax(-1)
    named = p.gather(1, ids)
    return torch.cat([named, 1 - named.sum(1, keepdim=True)], dim=1)


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 39))
def test_the_divergence_is_that_of_the_named_tokens_and_the_rest(seed: int, vocabulary: int, top: int) -> None:
    top = min(top, vocabulary - 1)
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (torch.randn(5, vocabulary, generator=generator) * 3 for _ in range(2))
    wanted = likeliest(teacher, top)
    found, total = divergences(student, wanted)
    p, q = coarse(teacher, wanted.ids), coarse(student, wanted.ids)
    torch.testing.assert_close(found.double(), (p * (p / q).log()).sum(1), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(total, student.logsumexp(-1))
    whole = F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    assert (found <= whole + 1e-4).all()  # tokens taken together never tell two distributions better apart


@given(st.integers(0, 10_000))
def test_a_student_that_is_its_teacher_has_nothing_to_learn(seed: int) -> None:
    logits = (torch.randn(6, 30, generator=torch.Generator().manual_seed(seed)) * 8).requires_grad_()
    wanted = likeliest(logits.detach(), 8)
    rounded = Wanted(wanted.ids, wanted.logprobs.half().float(), wanted.rest)
    found, _ = divergences(logits, rounded)
    assert float(found.detach().abs().max()) < 1e-4
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert float(gradient.abs().max()) < 5e-3
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("peak", [30.0, 200.0])
def test_certain_teachers_and_students_stay_finite(peak: float) -> None:
    """A teacher with one token of probability 1, and a student that is as sure of another one."""
    teacher, student = torch.zeros(2, 10), torch.zeros(2, 10)
    teacher[:, 3], student[:, 4] = peak, peak
    student.requires_grad_()
    found, _ = divergences(student, likeliest(teacher, 4))
    (gradient,) = torch.autograd.grad(found.sum(), student)
    assert bool(torch.isfinite(found).all())
    assert bool(torch.isfinite(gradient).all())
    torch.testing.assert_close(found.detach(), torch.full((2,), peak), rtol=1e-3, atol=1e-3)


class _Fixed:
    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted

    def at(self, batch: Batch) -> Wanted:
        return self._wanted


@pytest.mark.parametrize("part", [0, 1, 3, 7, 100])
def test_in_parts_it_is_the_same_loss_with_the_same_gradients(part: int) -> None:
    generator = torch.Generator().manual_seed(3)
    count, width, vocabulary = 7, 6, 20
    hidden = torch.randn(count, width, generator=generator)
    head = torch.randn(width, vocabulary, generator=generator)
    batch = Batch(
        *(torch.zeros(1, dtype=torch.long) for _ in range(4)),
        target_index=torch.arange(count),
        target_id=torch.randint(vocabulary, (count,), generator=generator),
        target_weight=torch.rand(count, generator=generator) + 0.1,
        target_row=torch.zeros(count, dtype=torch.long),
    )
    teacher = _Fixed(likeliest(torch.randn(count, vocabulary, generator=generator), 5))

    def computed(part: int) -> tuple[torch.Tensor, ...]:
        states, weights = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        forward = Forward(lambda batch: states, lambda rows: rows @ weights, part, 0, (weights,))
        result = divergence_from(teacher)(forward, batch)
        result.loss.backward()
        assert states.grad is not None
        assert weights.grad is not None
        return result.loss.detach(), result.nll, result.correct, states.grad, weights.grad

    plain, parted = computed(0), computed(part)
    for one, other in zip(plain, parted, strict=True):
        torch.testing.assert_close(one, other)
    logits = hidden @ head
    torch.testing.assert_close(plain[1], F.cross_entropy(logits, batch.target_id, reduction="none"))
    assert torch.equal(plain[2], logits.argmax(-1) == batch.target_id)
    expected = (divergences(logits, teacher.at(batch))[0] * batch.target_weight).sum()
    torch.testing.assert_close(plain[0], expected)
