"""The same engine on a CUDA device."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from heedlm.generate.chat import load_chat
from heedlm.generate.engine import decode
from heedlm.generate.scoring import score_ids
from heedlm.messages import Message, Request, Sampling
from tests.families import checkpoint

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_a_model_that_only_answers_is_held_in_bf16_and_answers(tmp_path: Path) -> None:
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU does not compute in bf16")
    chat = load_chat(checkpoint(tmp_path), "chatml")
    assert {weights.dtype for weights in chat.model.parameters()} == {torch.bfloat16}
    request = Request(messages=(Message("user", "Hello"),))
    assert chat.reply([request], Sampling(max_tokens=4))[0].stop_reason in ("stop", "length")
    assert all(math.isfinite(score) for score in chat.score([request], ["Paris"])[0])


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
