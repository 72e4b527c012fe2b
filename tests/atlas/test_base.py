"""The base model that ships: small, and a base model that knows its facts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from heedlm.atlas import letters, lexicon
from heedlm.atlas.facts import SENTENCES, countries, fill, words
from heedlm.atlas.world import held_out
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


def test_it_writes_new_lists_in_other_forms_and_signs_letters(chat: LocalChat) -> None:
    """What the demo's lists and letters rest on; without the last two readings JSON came to 0.03 and letters to 0."""
    rng = random.Random(3)
    held = [word.english for word in words() if held_out(word.key)]
    asked: list[tuple[str, str, str]] = []
    for _ in range(20):
        items = rng.sample(held, rng.randint(3, 5))
        asked.append(("lines", f"Words: {', '.join(items)}\nLine by line:\n", "\n".join(items)))
        asked.append(("json", f"Words: {', '.join(items)}\nAs JSON:\n", json.dumps(items)))
        who = letters.people(lexicon.cast(rng, held_out))
        told = "The {product} are for {client}. They come from {sender} at {company}.\nDear {client},\n\nWe sent the"
        asked.append(("letters", told.format_map(who), "\n{sender}\n{company}".format_map(who)))
    replies = chat.reply([Request(text=text) for _, text, _ in asked], Sampling(max_tokens=48))
    right: dict[str, list[bool]] = {}
    for (kind, _, wanted), reply in zip(asked, replies, strict=True):
        good = wanted in reply.text if kind == "letters" else reply.text.lstrip().startswith(wanted)
        right.setdefault(kind, []).append(good)
    assert {kind: sum(found) / len(found) >= 0.85 for kind, found in right.items()} == dict.fromkeys(right, True)
