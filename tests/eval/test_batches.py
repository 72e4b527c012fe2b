"""In fp32 the same greedy numbers come back in batches of 1, 4 and 16: replies, stop reasons, scores and likelihoods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heedlm.eval.arms import bare, instruct
from heedlm.eval.asking import Ask, answers
from heedlm.eval.evaluate import Arm, run_arm
from heedlm.eval.suites.read import read_suite
from heedlm.generate.chat import LocalChat, load_chat
from heedlm.messages import Request, Sampling, Task
from tests.families import checkpoint

LANDS = ("Italy", "Peru", "France", "Japan", "Egypt", "Chad", "Cuba", "Fiji", "Iran", "Laos", "Mali", "Oman")
CHOICES = ("Rome", "Lima by the sea", "Paris", "To", "a town that nobody knows")
BLOCK = " ".join(f"The capital of {land} is {CHOICES[n % 5]}." for n, land in enumerate(LANDS[:5]))
# Families that reach their answers in ways of their own: a plain one, windows, learned positions, a recurrent state.
KINDS = ("llama", "mistral", "gpt2", "lfm2")


def tasks(folder: Path) -> list[Task]:
    """Twelve items whose prompts begin alike and end at different lengths, generated and compared by likelihood."""
    rows = [
        {
            "id": land,
            "prompt": f"{BLOCK} {'Think twice. ' * (n % 4)}The capital of {land} is",
            "target": CHOICES[n % 2],
            "choices": list(CHOICES[: 2 + n % 4]),
        }
        for n, land in enumerate(LANDS)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "suite.yaml").write_text(
        "about: The same again.\ntasks:\n"
        "  told: {items: items.jsonl, plain: true, scorer: f1, max_tokens: 9}\n"
        "  likely: {items: items.jsonl, plain: true, scorer: likelihood}\n"
        "  chatted: {items: items.jsonl, scorer: f1, max_tokens: 7}\n"
    )
    return [one.task for one in read_suite(folder / "suite.yaml").tasks]


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp(request.param)
    checkpoint(found / "model", request.param, max_position_embeddings=1024)
    return found


def asked(folder: Path, batch: int) -> list[tuple[Any, ...]]:
    chat = load_chat(folder / "model", device="cpu", batch_size=batch)
    found = []
    for build in (bare, instruct):
        items = run_arm(tasks(folder), Arm("a", chat, build), Sampling(), batch=batch)
        found += [(item.task, item.id, item.reply, item.tokens, item.stop_reason, item.score) for item in items]
    return found


def likelihoods(chat: LocalChat, wanted: list[Task], batch: int) -> list[float]:
    asks = [
        Ask(Request(text=example.messages[-2].content), choices=tuple(example.meta["choices"]))
        for example in wanted[1].examples
    ]
    found = {
        index: reply.logprobs
        for done in answers(chat, asks, Sampling(), batch=batch)
        for index, reply in zip(done.indices, done.replies, strict=True)
    }
    return [figure for index in range(len(asks)) for figure in found[index]]


def test_batches_of_1_4_and_16_give_the_same_replies_and_scores(folder: Path) -> None:
    one, four, sixteen = (asked(folder, batch) for batch in (1, 4, 16))
    assert len({reply for task, _, reply, *_ in one if task == "told"}) > 2, "all say the same: nothing would be proved"
    assert one == four == sixteen


def test_batches_of_1_4_and_16_give_the_same_likelihoods(folder: Path) -> None:
    wanted = tasks(folder)
    one, four, sixteen = (
        likelihoods(load_chat(folder / "model", device="cpu", batch_size=batch), wanted, batch) for batch in (1, 4, 16)
    )
    assert len(one) == sum(len(example.meta["choices"]) for example in wanted[1].examples)
    assert four == pytest.approx(one, abs=2e-5)
    assert sixteen == pytest.approx(one, abs=2e-5)
