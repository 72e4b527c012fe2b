from __future__ import annotations

import pytest
import torch

from heedlm.model.vocabulary import make_room
from heedlm.tokens.tokenizer import train_tokenizer
from tests.families import TEXTS, VOCABULARY, build


@pytest.mark.parametrize("tied", [True, False])
def test_every_token_gets_a_row_and_no_old_row_moves(tied: bool) -> None:
    model, tokenizer = build("llama", tie_word_embeddings=tied), train_tokenizer(TEXTS, VOCABULARY)
    before = [end().weight.clone() for end in (model.get_input_embeddings, model.get_output_embeddings)]
    have = len(before[0])
    tokenizer.add_tokens([f"<|{n}|>" for n in range(have - len(tokenizer) + 3)])
    said: list[str] = []
    assert make_room(model, tokenizer, said.append) == [have, have + 1, have + 2]
    assert said == ["the tokenizer has 3 tokens more than the model: rows for them are added, and trained"]
    for end, old in zip((model.get_input_embeddings, model.get_output_embeddings), before, strict=True):
        assert torch.equal(end().weight[:have], old)
        torch.testing.assert_close(end().weight[have:], old.mean(0).expand(3, -1))
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    assert model.config.vocab_size == have + 3
    assert model(torch.tensor([[have + 2]])).logits.shape[-1] == have + 3
    assert make_room(model, tokenizer) == []


def test_a_model_with_room_to_spare_keeps_it() -> None:
    model, tokenizer = build("llama"), train_tokenizer(TEXTS, VOCABULARY)
    have = len(model.get_input_embeddings().weight)
    assert len(tokenizer) <= have
    tokenizer.add_tokens([f"<|{n}|>" for n in range(have - len(tokenizer))])
    assert len(tokenizer) == have
    assert make_room(model, tokenizer) == []
    assert len(model.get_input_embeddings().weight) == have
