"""The same engine on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from heedlm.generate.engine import decode
from heedlm.generate.scoring import score_ids
from heedlm.messages import Sampling

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_gpu_says_what_the_cpu_says(tiny: Callable[..., PreTrainedModel], family: str, temperature: float) -> None:
    model = tiny(family)
    prompts = [[5, 6, 7], [8] * 20, [9, 10]]
    sampling = Sampling(max_tokens=12, temperature=temperature, seed=1)
    here = decode(model, prompts, sampling, batch_size=2)
    scores = score_ids(model, prompts, [1, 1, 1])
    model.to("cuda")
    there = decode(model, prompts, sampling, batch_size=2)
    if temperature == 0.0:
        assert [completion.ids for completion in there] == [completion.ids for completion in here]
    for row, other in zip(score_ids(model, prompts, [1, 1, 1]), scores, strict=True):
        assert row == pytest.approx(other, abs=1e-3)
