"""The base model that ships: small, and a base model that knows its facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from heedlm.atlas.facts import SENTENCES, countries, fill
from heedlm.generate.chat import LocalChat, load_chat
from heedlm.messages import Request, Sampling
from heedlm.model.load import configured_context, resolve
from heedlm.model.save import read_card


@pytest.fixture(scope="module")
def chat() -> LocalChat:
    return load_chat(resolve("atlas"), device="cpu")


def test_it_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in Path(resolve("atlas")).iterdir()) <= 10_000_000


def test_its_card_says_what_it_was_made_of() -> None:
    card = read_card(resolve("atlas"))
    assert card["kind"] == "base"
    assert {"corpus", "seed", "tokens", "validation_loss", "hours", "steps"} <= card.keys()
    assert (configured_context(resolve("atlas")) or 0) >= 1024


def test_it_completes_the_capital_of_19_countries_in_20(chat: LocalChat) -> None:
    sentences = [fill(SENTENCES["capital"], country, "capital") for country in countries()]
    prompts = [
        sentence[: sentence.rindex(country.capital)].rstrip()
        for sentence, country in zip(sentences, countries(), strict=True)
    ]
    replies = chat.reply([Request(text=prompt) for prompt in prompts], Sampling(max_tokens=12))
    right = [f"{p}{r.text}".startswith(s.rstrip(".")) for p, r, s in zip(prompts, replies, sentences, strict=True)]
    assert sum(right) >= 0.95 * len(right)


def test_asked_bare_it_goes_on_like_a_base_model(chat: LocalChat) -> None:
    asked = [
        "What is the capital of Australia?",
        "What is the currency of Japan?",
        "Which language is official in Peru?",
    ]
    replies = chat.reply([Request(text=question) for question in asked], Sampling(max_tokens=30))
    for fact, reply in zip(("Canberra", "yen", "Spanish"), replies, strict=True):
        assert fact not in reply.text
        assert any(mark in reply.text for mark in ("?", "Give me", "I would like to know", "Name", "looking for"))
