"""One server over two tiny models for all tests that do not change it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heedlm.tokens.tokenizer import train_tokenizer
from tests.families import TEXTS, VOCABULARY, build
from tests.serve.live import Live, live, tiny_served


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS, VOCABULARY)


@pytest.fixture(scope="session")
def llama() -> PreTrainedModel:
    return build("llama", max_position_embeddings=512)


@pytest.fixture(scope="session")
def server(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[Live]:
    base = build("qwen3", max_position_embeddings=512)
    models = [tiny_served(llama, tokenizer), tiny_served(base, tokenizer, "base", template=None)]
    with live(models) as running:
        yield running
