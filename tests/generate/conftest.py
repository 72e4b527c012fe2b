"""Fixtures over the tiny models of tests.families."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heedlm.tokens.tokenizer import train_tokenizer
from tests.families import FAMILIES, TEXTS, VOCABULARY, build


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS, VOCABULARY)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., PreTrainedModel]:
    return build


@pytest.fixture(scope="session")
def llama() -> PreTrainedModel:
    return build("llama")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `family` runs once per architecture."""
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", sorted(FAMILIES))
