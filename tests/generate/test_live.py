"""Requests that join and leave a running batch, each in its own manner; the thread that serves many callers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel

from heedlm.generate import cache as kv
from heedlm.generate import engine
from heedlm.generate.engine import Engine, Job, decode, job_for
from heedlm.generate.memory import Memory
from heedlm.generate.passes import serving
from heedlm.generate.worker import Lane, Worker
from heedlm.messages import Sampling

Build = Callable[..., PreTrainedModel]


def some_prompts(lengths: list[int], seed: int = 1) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(4, 300, (length,), generator=generator).tolist() for length in lengths]


def alone(model: PreTrainedModel, prompt: list[int], sampling: Sampling, index: int = 0) -> list[int]:
    return list(decode(model, [prompt], sampling, indices=[index])[0].ids)


def job(model: PreTrainedModel, prompt: list[int], sampling: Sampling, index: int = 0) -> Job:
    return job_for(model, prompt, sampling, index, (), None)


def finished(engine: Engine) -> None:
    with serving(engine.model):
        while engine.busy:
            engine.step()


def test_requests_that_arrive_and_leave_at_any_time_say_what_they_say_alone(family: str, tiny: Build) -> None:
    """Arrivals, lengths and departures by a seed; greedy throughout; with and without a memory of beginnings."""
    model = tiny(family)
    chance = random.Random(5)
    beginning = some_prompts([40])[0]
    prompts = [
        [*(beginning[: chance.randrange(36, 41)] if chance.random() < 0.5 else []), *end]
        for end in some_prompts([chance.randrange(1, 12) for _ in range(14)], seed=2)
    ]
    samplings = [Sampling(max_tokens=chance.randrange(1, 14)) for _ in prompts]
    expected = [
        model.generate(
            torch.tensor([prompt]),
            max_new_tokens=sampling.max_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        for prompt, sampling in zip(prompts, samplings, strict=True)
    ]
    for memory in (None, Memory(2**22)):
        engine = Engine(model, batch_size=4, eager=True, memory=memory)
        jobs = [job(model, prompt, sampling) for prompt, sampling in zip(prompts, samplings, strict=True)]
        arriving, done = list(jobs), 0
        with serving(model):
            while arriving or engine.busy:
                for _ in range(chance.randrange(0, 3)):
                    if arriving:
                        engine.add(arriving.pop(0))
                done += len(engine.step())
        assert done == len(jobs)
        assert [one.ids for one in jobs] == expected
        if memory is not None and kv.resumable(kv.new_cache(model)):
            assert sum(one.remembered for one in jobs) > 100, "nothing was remembered: the test would prove nothing"


def test_rows_of_one_batch_are_decoded_each_in_its_own_manner(tiny: Build) -> None:
    model = tiny("llama")
    manners = [
        Sampling(max_tokens=9),
        Sampling(max_tokens=9, temperature=1.4, seed=3),
        Sampling(max_tokens=9, temperature=0.8, top_k=7, seed=3),
        Sampling(max_tokens=9, temperature=1.4, top_p=0.6, seed=4),
        Sampling(max_tokens=9, temperature=1.4, min_p=0.2, seed=5),
        Sampling(max_tokens=9, repetition_penalty=1.7),
        Sampling(max_tokens=9, temperature=1.0, repetition_penalty=0.6, top_p=0.9, min_p=0.05, top_k=40, seed=6),
    ]
    prompts = some_prompts([5, 3, 8, 1, 6, 9, 4])
    engine = Engine(model, eager=True)
    jobs = [job(model, prompt, how) for prompt, how in zip(prompts, manners, strict=True)]
    for one in jobs:
        engine.add(one)
    finished(engine)
    separate = [alone(model, prompt, how) for prompt, how in zip(prompts, manners, strict=True)]
    assert [one.ids for one in jobs] == separate
    greedy = alone(model, prompts[1], Sampling(max_tokens=9))
    assert jobs[1].ids != greedy


@pytest.mark.parametrize("penalty", [0.5, 1.3, 4.0])
def test_the_repetition_penalty_is_that_of_transformers(family: str, tiny: Build, penalty: float) -> None:
    model = tiny(family)
    for prompt in some_prompts([6, 2]):
        theirs = model.generate(
            torch.tensor([prompt]),
            max_new_tokens=12,
            do_sample=False,
            repetition_penalty=penalty,
            eos_token_id=None,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        assert alone(model, prompt, Sampling(max_tokens=12, repetition_penalty=penalty)) == theirs


def test_a_seed_gives_the_same_reply_in_any_company(tiny: Build) -> None:
    model = tiny("llama")
    how = Sampling(max_tokens=10, temperature=1.5, seed=11)
    prompt = some_prompts([5])[0]
    mine = alone(model, prompt, how)
    others = [job(model, other, replace(how, seed=at)) for at, other in enumerate(some_prompts([4, 9, 2, 7], seed=8))]
    engine = Engine(model, eager=True)
    for one in others[:2]:
        engine.add(one)
    with serving(model):
        engine.step()
        engine.step()
        ours = job(model, prompt, how)
        for one in (ours, *others[2:]):
            engine.add(one)
        while engine.busy:
            engine.step()
    assert ours.ids == mine
    assert alone(model, prompt, replace(how, seed=12)) != mine
    assert alone(model, prompt, how, index=1) != mine


def test_alternatives_are_the_models_own_probabilities(tiny: Build) -> None:
    model = tiny("llama")
    prompt = some_prompts([6])[0]
    made = decode(model, [prompt], Sampling(max_tokens=5, temperature=0.9, seed=2, top_logprobs=4))[0]
    with torch.no_grad():
        expected = model(torch.tensor([[*prompt, *made.ids]])).logits[0].log_softmax(-1)
    assert len(made.alternatives) == 5
    for at, others in enumerate(made.alternatives):
        best = expected[len(prompt) - 1 + at].topk(4)
        assert [token for token, _ in others] == best.indices.tolist()
        assert [value for _, value in others] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_a_dropped_row_frees_its_place_at_the_next_pass(tiny: Build) -> None:
    model = tiny("llama")
    prompts = some_prompts([4, 6, 3])
    engine = Engine(model, batch_size=2, eager=True)
    jobs = [job(model, prompt, Sampling(max_tokens=30)) for prompt in prompts]
    for one in jobs:
        engine.add(one)
    with serving(model):
        engine.step()
        engine.step()
        assert (engine.num_running, len(engine.waiting)) == (2, 1)
        engine.drop(jobs[0])
        assert engine.num_running == 1
        engine.step()
        assert (engine.num_running, len(engine.waiting)) == (2, 0)
        engine.drop(jobs[0])  # a second time: nothing happens
        while engine.busy:
            engine.step()
    assert len(jobs[0].ids) == 2
    for one, prompt in zip(jobs[1:], prompts[1:], strict=True):
        assert one.ids == alone(model, prompt, Sampling(max_tokens=30))


def test_running_rows_wait_for_a_limited_number_of_prompt_tokens(tiny: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_EAGER_TOKENS", 20)
    model = tiny("llama")
    batch = Engine(model, batch_size=64, eager=True)
    first = job(model, some_prompts([4])[0], Sampling(max_tokens=20))
    batch.add(first)
    with serving(model):
        batch.step()
        batch.step()
        for prompt in some_prompts([5] * 20, seed=3):
            batch.add(job(model, prompt, Sampling(max_tokens=20)))
        for rounds in range(1, 6):
            batch.step()  # four prompts of five tokens are let in, and then it is the others' turn
            assert (batch.num_running, len(first.ids)) == (1 + 4 * rounds, rounds + 1)
            batch.step()
            assert len(first.ids) == rounds + 2


def test_prompts_of_one_prefill_are_about_as_long(tiny: Build) -> None:
    model = tiny("llama")
    sizes: list[tuple[int, ...]] = []
    heard = model.register_forward_pre_hook(
        lambda _module, _args, given: sizes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    batch = Engine(model, eager=True)
    for prompt in some_prompts([10, 90, 12, 95, 30, 99]):
        batch.add(job(model, prompt, Sampling(max_tokens=1)))
    finished(batch)
    heard.remove()
    assert sizes == [(3, 30), (3, 99)]


def test_memory_stays_within_its_budget_and_forgets_the_oldest(tiny: Build) -> None:
    model = tiny("llama")
    per_token = 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, size, bytes
    memory = Memory(3 * 60 * per_token)
    prompts = some_prompts([50] * 5)
    engine = Engine(model, eager=True, memory=memory)
    for prompt in prompts:
        engine.add(job(model, prompt, Sampling(max_tokens=4)))
        finished(engine)
        assert 0 < memory.bytes <= memory.budget
    assert len(memory) == 3
    again = [job(model, [*prompt, 5], Sampling(max_tokens=2)) for prompt in (prompts[0], prompts[-1])]
    for one in again:
        engine.add(one)
        finished(engine)
    assert [one.remembered for one in again] == [0, 50]
    memory.clear()
    assert (len(memory), memory.bytes) == (0, 0)


def test_a_conversation_goes_on_from_where_it_was(tiny: Build) -> None:
    model = tiny("llama")
    engine = Engine(model, eager=True, memory=Memory(2**22))
    first = job(model, some_prompts([30])[0], Sampling(max_tokens=20))
    engine.add(first)
    finished(engine)
    next_prompt = [*first.prompt, *first.ids, *some_prompts([5], seed=9)[0]]
    second = job(model, next_prompt, Sampling(max_tokens=10))
    engine.add(second)
    finished(engine)
    assert second.remembered == 49, "prompt and reply, but for the last token, which was never run"
    assert second.ids == alone(model, next_prompt, Sampling(max_tokens=10))


class Waiting:
    """What a caller of a worker sees: jobs that ended, with their errors."""

    def __init__(self) -> None:
        self.ended: list[BaseException | None] = []
        self._all = threading.Semaphore(0)

    def __call__(self, error: BaseException | None) -> None:
        self.ended.append(error)
        self._all.release()

    def wait(self, number: int) -> None:
        for _ in range(number):
            assert self._all.acquire(timeout=60)


def test_a_worker_serves_callers_of_many_threads(tiny: Build) -> None:
    models = [tiny("llama"), tiny("qwen3")]
    lanes = [Lane(Engine(model, batch_size=3, eager=True)) for model in models]
    worker = Worker(lanes)
    worker.start()
    heard = Waiting()
    prompts = some_prompts([4, 7, 2, 9, 5, 3])
    jobs = [(lane, job(lane.engine.model, prompt, Sampling(max_tokens=8))) for prompt in prompts for lane in lanes]
    threads = [threading.Thread(target=worker.submit, args=(lane, one, heard)) for lane, one in jobs]
    for thread in threads:
        thread.start()
    heard.wait(len(jobs))
    worker.close(timeout=30)
    for lane, one in jobs:
        assert one.ids == alone(lane.engine.model, list(one.prompt), Sampling(max_tokens=8))
    assert heard.ended == [None] * len(jobs)


def test_a_pass_that_fails_ends_its_jobs_and_nothing_else(tiny: Build) -> None:
    model, other = tiny("llama"), tiny("qwen3")
    lanes = [Lane(Engine(model, eager=True)), Lane(Engine(other, eager=True))]
    worker, heard, fine = Worker(lanes), Waiting(), Waiting()
    broken = model.register_forward_pre_hook(lambda module, args: (_ for _ in ()).throw(MemoryError("no room")))
    prompt = some_prompts([4])[0]
    worker.start()
    for _ in range(3):
        worker.submit(lanes[0], job(model, prompt, Sampling(max_tokens=3)), heard)
    good = job(other, prompt, Sampling(max_tokens=3))
    worker.submit(lanes[1], good, fine)
    heard.wait(3)
    fine.wait(1)
    assert {type(error) for error in heard.ended} == {MemoryError}
    broken.remove()
    again = job(model, prompt, Sampling(max_tokens=3))
    worker.submit(lanes[0], again, heard)
    heard.wait(1)
    worker.close(timeout=30)
    assert heard.ended[-1] is None
    assert again.ids == alone(model, prompt, Sampling(max_tokens=3))


def test_what_is_cancelled_is_never_told_of(tiny: Build) -> None:
    model = tiny("llama", max_position_embeddings=4096)
    lane = Lane(Engine(model, batch_size=2, eager=True))
    passes: list[int] = []
    worker = Worker([lane], after_pass=lambda: passes.append(lane.engine.num_running))
    long, heard, fine = job(model, [5, 6], Sampling(max_tokens=4000)), Waiting(), Waiting()
    worker.start()
    worker.submit(lane, long, heard)
    worker.submit(lane, job(model, [7], Sampling(max_tokens=5)), fine)
    fine.wait(1)
    worker.cancel(lane, long)
    worker.cancel(lane, long)
    worker.submit(lane, job(model, [8], Sampling(max_tokens=5)), fine)
    fine.wait(1)
    worker.close(timeout=30)
    assert heard.ended == []
    assert len(long.ids) < 4000
    assert passes[-1] == 0
