"""A long prompt is run in pieces: those that run go on between them, and short ones begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import PreTrainedModel

from heedlm.generate import cache as kv
from heedlm.generate import engine
from heedlm.generate.engine import Engine, Job, job_for
from heedlm.generate.memory import Memory
from heedlm.generate.passes import serving
from heedlm.generate.worker import Lane, Worker
from heedlm.messages import Sampling
from tests.generate.test_live import Waiting, alone, finished, job, some_prompts

Build = Callable[..., PreTrainedModel]
PIECE = 20


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_EAGER_TOKENS", PIECE)


@contextmanager
def passes_of(model: PreTrainedModel) -> Iterator[list[tuple[int, int]]]:
    """Rows and tokens of every pass while the block lasts."""
    sizes: list[tuple[int, int]] = []
    heard = model.register_forward_pre_hook(
        lambda _module, _args, given: sizes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    try:
        yield sizes
    finally:
        heard.remove()


def greedy(model: PreTrainedModel, prompt: list[int], tokens: int) -> list[int]:
    out = model.generate(
        torch.tensor([prompt]), max_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("remembers", [False, True])
def test_replies_are_those_of_generate_however_the_prompt_was_run(family: str, tiny: Build, remembers: bool) -> None:
    model = tiny(family)
    prompts = some_prompts([5, 99, 3, 41, 20, 21, 60, 1])
    batch = Engine(model, batch_size=4, eager=True, memory=Memory(2**22) if remembers else None)
    jobs = [job(model, prompt, Sampling(max_tokens=9)) for prompt in prompts]
    for one in jobs:
        batch.add(one)
    finished(batch)
    assert [one.ids for one in jobs] == [greedy(model, prompt, 9) for prompt in prompts]


def test_running_replies_go_on_between_the_pieces(tiny: Build) -> None:
    model = tiny("llama")
    batch = Engine(model, eager=True)
    first, long = (job(model, prompt, Sampling(max_tokens=25)) for prompt in some_prompts([4, 5 * PIECE]))
    batch.add(first)
    with serving(model), passes_of(model) as sizes:
        batch.step()
        batch.add(long)
        while not long.ids:
            batch.step()
    assert sizes == [(1, 4), (1, PIECE), (1, 1), (1, PIECE), (1, 1), (1, PIECE), (1, 1), (1, PIECE), (1, 1), (1, PIECE)]
    assert len(first.ids) == 5
    finished(batch)
    assert [first.ids, long.ids] == [alone(model, list(one.prompt), Sampling(max_tokens=25)) for one in (first, long)]


@pytest.mark.parametrize(("length", "pieces"), [(PIECE, [20]), (PIECE + 1, [20, 1]), (3 * PIECE, [20, 20, 20])])
def test_no_piece_is_longer_than_agreed(tiny: Build, length: int, pieces: list[int]) -> None:
    model = tiny("llama")
    batch = Engine(model, eager=True)
    one = job(model, some_prompts([length])[0], Sampling(max_tokens=1))
    batch.add(one)
    with passes_of(model) as sizes:
        finished(batch)
    assert sizes == [(1, tokens) for tokens in pieces]
    assert one.ids == alone(model, list(one.prompt), Sampling(max_tokens=1))


def test_short_prompts_do_not_wait_for_the_end_of_a_long_one_and_long_ones_take_turns(tiny: Build) -> None:
    model = tiny("llama")
    batch = Engine(model, batch_size=8, eager=True)
    long, second, *short = (
        job(model, prompt, Sampling(max_tokens=1)) for prompt in some_prompts([100, 80, 5, 6, 4, 3])
    )
    ended: list[Job] = []
    for one in (long, second, *short):
        batch.add(one)
    with serving(model):
        while batch.busy:
            ended += batch.step()
    assert set(map(id, ended[:4])) == set(map(id, short))
    assert ended[4:] == [long, second]
    for one in (long, second, *short):
        assert one.ids == alone(model, list(one.prompt), Sampling(max_tokens=1))


def test_a_long_prompt_takes_a_place_and_gives_it_back_when_dropped(tiny: Build) -> None:
    model = tiny("llama")
    batch = Engine(model, batch_size=2, eager=True)
    long, *short = (job(model, prompt, Sampling(max_tokens=30)) for prompt in some_prompts([100, 5, 6]))
    for one in (long, *short):
        batch.add(one)
    with serving(model):
        for _ in range(5):
            batch.step()
        assert (batch.num_running, len(batch.waiting), long.ids) == (1, 1, [])
        batch.drop(long)
        batch.step()
        assert (batch.num_running, len(batch.waiting)) == (2, 0)
        batch.add(long)
        batch.drop(short[0])
        batch.step()
        lost = batch.clear()
    assert {id(one) for one in lost} == {id(long), id(short[1])}
    assert not batch.busy


def test_a_long_conversation_that_is_remembered_is_not_run_again(tiny: Build) -> None:
    model = tiny("llama")
    batch = Engine(model, eager=True, memory=Memory(2**22))
    first = job(model, some_prompts([80])[0], Sampling(max_tokens=4))
    batch.add(first)
    finished(batch)
    again = job(model, [*first.prompt, *first.ids, 7, 8], Sampling(max_tokens=4))
    batch.add(again)
    with passes_of(model) as sizes:
        finished(batch)
    assert sizes[0] == (1, 6), "the prompt is remembered, a reply of four tokens is not worth it; two are new"
    assert again.ids == alone(model, list(again.prompt), Sampling(max_tokens=4))


def test_models_that_cannot_go_on_from_a_cache_run_a_prompt_at_once(tiny: Build) -> None:
    model = tiny("mamba")
    assert not kv.resumable(kv.new_cache(model))
    batch = Engine(model, eager=True)
    batch.add(job(model, some_prompts([70])[0], Sampling(max_tokens=1)))
    with passes_of(model) as sizes:
        finished(batch)
    assert sizes == [(1, 70)]


def test_a_listener_hears_tokens_while_a_long_prompt_is_read(tiny: Build) -> None:
    """Through the thread that serves: the long prompt is handed in at the listener's third token."""
    model = tiny("llama")
    lane = Lane(Engine(model, eager=True))
    worker, ended = Worker([lane]), Waiting()
    prompt, long_prompt = some_prompts([4, 5 * PIECE])
    heard_before: list[int] = []
    heard: list[int] = []

    def hear_long(_token: int) -> bool:
        heard_before.append(len(heard))
        return False

    long = job_for(model, long_prompt, Sampling(max_tokens=3), 0, (), hear_long)

    def hear(token: int) -> bool:
        heard.append(token)
        if len(heard) == 3:
            worker.submit(lane, long, ended)
        return False

    worker.start()
    worker.submit(lane, job_for(model, prompt, Sampling(max_tokens=60), 0, (), hear), ended)
    ended.wait(2)
    worker.close(timeout=60)
    assert heard_before[0] == 3 + 4, "a token between each two of the five pieces"
    assert (len(heard), len(long.ids)) == (60, 3)
