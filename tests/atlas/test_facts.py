from __future__ import annotations

import unicodedata

import pytest

from heedlm.atlas.decks import Deck
from heedlm.atlas.facts import ATTRIBUTES, Country, countries, fact_sentence, pool, translation_sentence, words
from heedlm.atlas.world import held_out, row, split_of


def named(name: str) -> Country:
    return next(country for country in countries() if country.name == name)


def test_every_country_has_every_field() -> None:
    assert len(countries()) == 193
    assert len({country.name for country in countries()}) == 193
    for country in countries():
        assert country.article in ("", "the")
        for cell in (country.name, *(country.value(attribute) for attribute in ATTRIBUTES)):
            assert cell
            assert cell == cell.strip()
            assert cell.isascii()


def test_continents_are_the_six_inhabited_ones() -> None:
    sizes: dict[str, int] = {}
    for country in countries():
        sizes[country.continent] = sizes.get(country.continent, 0) + 1
    # United Nations members per M49 region, with the Americas divided at Panama.
    assert sizes == {"Africa": 54, "Asia": 47, "Europe": 43, "North America": 23, "Oceania": 14, "South America": 12}


def test_capitals_are_unique() -> None:
    assert len({country.capital for country in countries()}) == 193


@pytest.mark.parametrize(
    ("name", "capital", "currency", "language"),
    [
        ("France", "Paris", "euro", "French"),
        ("Australia", "Canberra", "Australian dollar", "English"),
        ("Kazakhstan", "Astana", "Kazakhstani tenge", "Kazakh"),
        ("Brazil", "Brasilia", "Brazilian real", "Portuguese"),
        ("Tanzania", "Dodoma", "Tanzanian shilling", "Swahili"),
        ("Croatia", "Zagreb", "euro", "Croatian"),
        ("Switzerland", "Bern", "Swiss franc", "German"),
        ("Tuvalu", "Funafuti", "Australian dollar", "Tuvaluan"),
    ],
)
def test_known_facts(name: str, capital: str, currency: str, language: str) -> None:
    country = named(name)
    assert (country.capital, country.currency, country.language) == (capital, currency, language)


def test_the_euro_is_used_where_it_is_official() -> None:
    euro = {country.name for country in countries() if country.currency == "euro"}
    # 20 members of the euro area in 2024, and the four others that use it among the members of the United Nations.
    assert len(euro) == 24
    assert {"Andorra", "Monaco", "Montenegro", "San Marino", "Croatia", "Ireland"} <= euro


def test_names_with_an_article_read_well() -> None:
    assert fact_sentence(named("Gambia"), "continent") == "The Gambia is in Africa."
    assert fact_sentence(named("Gambia"), "capital") == "The capital of the Gambia is Banjul."
    assert fact_sentence(named("Japan"), "currency") == "The currency of Japan is the Japanese yen."


def test_the_dictionary_is_unambiguous_both_ways() -> None:
    assert len(words()) >= 200
    assert len({word.english for word in words()}) == len(words())
    assert len({word.hindi for word in words()}) == len(words())
    for word in words():
        assert word.english.isascii()
        assert " " not in word.hindi
        assert all("DEVANAGARI" in unicodedata.name(letter) for letter in word.hindi)
        assert unicodedata.normalize("NFC", word.hindi) == word.hindi
    assert translation_sentence(words()[0]) == "The Hindi word for water is पानी."


def test_pools_hold_each_word_once() -> None:
    for name in ("adjectives", "nouns", "people", "onsets"):
        assert len(set(pool(name))) == len(pool(name)) > 20


def test_four_tenths_are_held_out() -> None:
    held = [country for country in countries() if held_out(country.key)]
    assert len(held) == 77
    assert 0.38 < sum(held_out(word.key) for word in words()) / len(words()) < 0.42
    assert not held_out("country:France", share=0.0)
    assert held_out("country:France", share=1.0)


def test_the_split_is_stable_and_moves_with_its_seed() -> None:
    keys = [f"topic:{number}" for number in range(500)]
    first = [split_of(key) for key in keys]
    assert first == [split_of(key) for key in keys]
    assert first != [split_of(key, seed=1) for key in keys]
    assert [split_of("country:France"), split_of("country:Kenya")] == [
        split_of("country:France"),
        split_of("country:Kenya"),
    ]


def test_a_row_has_the_shape_that_prepare_reads() -> None:
    made = row(
        "chat",
        "chat",
        "And?",
        "Yes.",
        group="country:Fiji",
        checks=[{"type": "equals", "value": "Yes."}],
        number=3,
        system="Rule.",
        history=[("Q?", "A.")],
        extra={"shape": "follow"},
    )
    assert [message["role"] for message in made["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert made["id"] == "chat-country-fiji-3"
    assert made["meta"] == {
        "task": "chat",
        "kind": "chat",
        "gated": True,
        "form": "sentence",
        "checks": [{"type": "equals", "value": "Yes."}],
        "shape": "follow",
    }


def test_a_deck_gives_every_item_before_it_repeats_one() -> None:
    import random

    deck = Deck("abcdefg", random.Random(3))
    for _ in range(5):
        assert sorted(deck.draw() for _ in range(7)) == list("abcdefg")
    counts = dict.fromkeys("abcdefg", 0)
    for _ in range(70):
        hand = deck.take(3)
        assert len(set(hand)) == 3
        for item in hand:
            counts[item] += 1
    assert max(counts.values()) - min(counts.values()) <= 2
    assert sorted(deck.take(7)) == list("abcdefg")
    assert deck.take(0) == []
