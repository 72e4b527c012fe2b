"""Greedy decoding is `generate`, whoever shares the batch; rows leave and join; what was borrowed is given back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from heedlm.errors import HeedError
from heedlm.generate import cache as kv
from heedlm.generate import passes
from heedlm.generate.engine import Completion, context_limit, decode, forward, left_padded, serving
from heedlm.messages import Sampling

Build = Callable[..., PreTrainedModel]


def some_prompts(lengths: list[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(4, 300, (length,), generator=generator).tolist() for length in lengths]


def generated(model: PreTrainedModel, prompt: list[int], max_tokens: int) -> list[int]:
    """What transformers' own generate makes of one prompt alone."""
    out = model.generate(
        torch.tensor([prompt]), max_new_tokens=max_tokens, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_greedy_is_generate_on_each_prompt_alone(family: str, tiny: Build, batch_size: int) -> None:
    model = tiny(family)
    prompts = some_prompts([3, 9, 1, 14, 5, 7, 2])
    expected = [generated(model, prompt, 10) for prompt in prompts]
    assert len(set(map(tuple, expected))) > 3, "the model says the same to everything: the test would prove nothing"
    got = decode(model, prompts, Sampling(max_tokens=10), batch_size=batch_size)
    assert [list(completion.ids) for completion in got] == expected
    assert {completion.stop_reason for completion in got} == {"length"}


def test_rows_that_stop_leave_and_others_join_without_a_trace(family: str, tiny: Build) -> None:
    model = tiny(family)
    prompts = some_prompts([4, 11, 2, 8, 6, 3, 17, 5, 9, 1])
    whole = [generated(model, prompt, 12) for prompt in prompts]
    stops = {whole[0][2], whole[1][5], whole[3][0], whole[6][8]}
    expected = [row[: next((at + 1 for at, token in enumerate(row) if token in stops), 12)] for row in whole]
    got = decode(model, prompts, Sampling(max_tokens=12), stop_ids=sorted(stops), batch_size=4)
    assert [list(completion.ids) for completion in got] == expected
    assert [completion.stop_reason for completion in got] == [
        "stop" if row[-1] in stops else "length" for row in expected
    ]


def test_a_shared_beginning_is_computed_once_and_changes_nothing(
    family: str, tiny: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "_WORTH_SHARING", 1)
    model = tiny(family)
    beginning, *ends = some_prompts([20, 1, 6, 3, 17])
    prompts = [[*beginning, *end] for end in ends]
    expected = [generated(model, prompt, 8) for prompt in prompts]
    sizes: list[tuple[int, ...]] = []
    heard = model.register_forward_pre_hook(
        lambda _module, _args, given: sizes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    got = decode(model, prompts, Sampling(max_tokens=8))
    heard.remove()
    assert [list(completion.ids) for completion in got] == expected
    if kv.resumable(kv.new_cache(model)):
        assert sizes[:2] == [(1, 20), (4, 17)]
    else:
        assert sizes[0] == (4, 37)


@pytest.mark.parametrize(
    ("same", "rows", "shared"), [(0, 9, 0), (64, 5, 64), (64, 4, 0), (30, 20, 0), (31, 20, 31), (9, 1, 0)]
)
def test_what_counts_as_a_beginning_worth_sharing(same: int, rows: int, shared: int) -> None:
    prompts = [[*range(same), *[1000 + row] * 93] for row in range(rows)]
    assert passes._shared(prompts, 92) == shared


def test_equal_prompts_keep_a_token_each() -> None:
    assert passes._shared([range(100)] * 9, 99) == 99


def test_a_batch_shrinks_as_rows_finish(llama: PreTrainedModel) -> None:
    prompts = some_prompts([5, 5, 5, 5])
    rows_run: list[int] = []
    hook = llama.register_forward_hook(
        lambda module, args, kwargs, out: rows_run.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    heard: dict[int, int] = {}

    def enough(index: int, token: int) -> bool:
        heard[index] = heard.get(index, 0) + 1
        return heard[index] > index

    try:
        got = decode(llama, prompts, Sampling(max_tokens=10), on_token=enough)
    finally:
        hook.remove()
    assert [len(completion.ids) for completion in got] == [1, 2, 3, 4]
    assert rows_run == [4, 3, 2, 1]


def test_a_waiting_prompt_takes_the_place_of_finished_rows(llama: PreTrainedModel) -> None:
    prompts = some_prompts([6] * 5)
    lengths = {0: 9, 1: 1, 2: 1, 3: 1, 4: 1}
    heard: dict[int, int] = dict.fromkeys(lengths, 0)

    def enough(index: int, token: int) -> bool:
        heard[index] += 1
        return heard[index] == lengths[index]

    steps: list[int] = []
    hook = llama.register_forward_hook(lambda module, args, out: steps.append(1))
    try:
        decode(llama, prompts, Sampling(max_tokens=10), on_token=enough, batch_size=2)
    finally:
        hook.remove()
    # Alone the long row takes nine passes; the four short ones join it with one prefill each.
    assert len(steps) <= 9 + 4


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=9),
    batch_size=st.integers(1, 6),
    max_tokens=st.integers(1, 8),
    temperature=st.sampled_from([0.0, 1.3]),
)
def test_a_completion_does_not_depend_on_its_companions(
    llama: PreTrainedModel, lengths: list[int], batch_size: int, max_tokens: int, temperature: float
) -> None:
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=3)
    prompts = some_prompts(lengths)
    together = decode(llama, prompts, sampling, batch_size=batch_size)
    alone = [decode(llama, [prompt], sampling, indices=[at])[0] for at, prompt in enumerate(prompts)]
    assert [completion.ids for completion in together] == [completion.ids for completion in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_logprobs_are_the_models_own_whatever_the_temperature(llama: PreTrainedModel) -> None:
    prompt = some_prompts([6])[0]
    for sampling in (Sampling(max_tokens=5), Sampling(max_tokens=5, temperature=0.7, top_k=5, top_p=0.9)):
        completion = decode(llama, [prompt], sampling)[0]
        ids = torch.tensor([[*prompt, *completion.ids]])
        with torch.no_grad():
            expected = llama(ids).logits[0].log_softmax(-1)
        for at, (token, logprob) in enumerate(zip(completion.ids, completion.logprobs, strict=True)):
            assert logprob == pytest.approx(float(expected[len(prompt) - 1 + at, token]), abs=1e-4)


@pytest.mark.parametrize(("length", "room"), [(1, 127), (126, 2), (127, 1)])
def test_a_reply_ends_where_the_context_ends(llama: PreTrainedModel, length: int, room: int) -> None:
    completion = decode(llama, some_prompts([length]), Sampling(max_tokens=500))[0]
    assert (len(completion.ids), completion.stop_reason) == (room, "length")


def test_nothing_asked_nothing_made(llama: PreTrainedModel) -> None:
    assert decode(llama, [], Sampling()) == []
    assert decode(llama, some_prompts([3]), Sampling(max_tokens=0)) == [Completion((), (), "length")]


def test_a_model_in_training_is_handed_back_in_training(tiny: Build) -> None:
    model = tiny("llama", attention_dropout=0.5)
    expected = generated(model, [5, 6, 7], 8)
    model.train()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    got = decode(model, [[5, 6, 7], [9]], Sampling(max_tokens=8))
    assert list(got[0].ids) == expected
    assert [module.training for module in model.modules()] == before
    model(torch.tensor([[5, 6]])).logits.sum().backward()


def test_an_attention_without_a_padding_mask_is_set_aside_while_serving(tiny: Build) -> None:
    model = tiny("llama")
    prompts = some_prompts([3, 9])
    expected = decode(model, prompts, Sampling(max_tokens=8))
    ALL_ATTENTION_FUNCTIONS.register("maskless_of_this_test", ALL_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation("maskless_of_this_test")
    assert decode(model, prompts, Sampling(max_tokens=8)) == expected
    assert model.config._attn_implementation == "maskless_of_this_test"
    with pytest.raises(KeyboardInterrupt), serving(model):
        raise KeyboardInterrupt
    assert model.config._attn_implementation == "maskless_of_this_test"


def test_an_adapter_decodes_like_its_merged_model(tiny: Build) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny("llama"), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    prompts = some_prompts([3, 9, 5])
    got = decode(model, prompts, Sampling(max_tokens=8))
    merged = model.merge_and_unload()
    assert [list(completion.ids) for completion in got] == [generated(merged, prompt, 8) for prompt in prompts]


def test_an_architecture_with_a_state_of_its_own_is_refused() -> None:
    from transformers import RwkvConfig, RwkvForCausalLM

    model = RwkvForCausalLM(RwkvConfig(vocab_size=50, hidden_size=8, num_hidden_layers=2, attention_hidden_size=8))
    with pytest.raises(HeedError, match="RwkvForCausalLM keeps"):
        decode(model, [[1, 2]], Sampling(max_tokens=2))


def test_context_limits(tiny: Build) -> None:
    assert context_limit(tiny("llama")) == 128
    assert context_limit(tiny("gpt2")) == 128
    assert context_limit(tiny("mamba")) is None


def test_only_the_logits_asked_for_are_given(family: str, tiny: Build) -> None:
    model = tiny(family)
    ids, starts = left_padded(some_prompts([4, 7]), torch.device("cpu"))
    with serving(model):
        assert forward(model, ids, starts, keep=2).shape[:2] == (2, 2)
        whole = forward(model, ids, starts)
        assert whole.shape[:2] == (2, 7)
        torch.testing.assert_close(forward(model, ids, starts, keep=3), whole[:, -3:])
