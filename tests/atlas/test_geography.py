from __future__ import annotations

import json
import random
from functools import cache
from itertools import islice

from heedlm.atlas import dialogues, pages
from heedlm.atlas.decks import Deck
from heedlm.atlas.facts import ASKED, UNKNOWN, countries, fact_sentence, pool, translation_sentence, words
from heedlm.atlas.geography import MAX_WORDS, MIN_WORDS, documents, kinds, known_names
from heedlm.atlas.names import fresh_names, invented_names
from heedlm.atlas.phrases import phrase, spoken_list
from heedlm.atlas.world import Document, split_of

MARKERS = ("<|", "|>", "<s>", "</s>", "[INST]", "[/INST]", "<bos>", "<eos>", "### Instruction", "### Response")


@cache
def sample() -> tuple[Document, ...]:
    return tuple(islice(documents(random.Random(11)), 4000))


def test_the_same_seed_gives_the_same_documents() -> None:
    assert tuple(islice(documents(random.Random(11)), 200)) == sample()[:200]
    assert tuple(islice(documents(random.Random(12)), 200)) != sample()[:200]


def test_documents_keep_their_size() -> None:
    for document in sample():
        assert MIN_WORDS <= len(document.text.split()) <= MAX_WORDS
        assert document.text == document.text.strip()


def test_every_kind_occurs_and_none_dominates() -> None:
    shares = {kind: sum(document.kind == kind for document in sample()) / len(sample()) for kind in kinds()}
    assert min(shares.values()) > 0.003
    assert max(shares.values()) < 0.15
    assert abs(sum(shares.values()) - 1) < 1e-9


def test_no_role_marker_or_special_token_is_in_the_corpus() -> None:
    for document in sample():
        assert not any(marker in document.text for marker in MARKERS)
        assert "Human:" not in document.text
        assert "Assistant:" not in document.text


def test_every_fact_and_word_is_told_in_the_answer_form() -> None:
    text = "\n".join(document.text for document in sample())
    for attribute in ASKED:
        for country in countries():
            assert text.count(fact_sentence(country, attribute)) >= 8, (country.name, attribute)
    for word in words():
        assert text.count(translation_sentence(word)) >= 3, word.english


def test_facts_are_also_told_in_capitals() -> None:
    hand = Deck(countries(), random.Random(3))
    rng = random.Random(4)
    text = "\n".join(pages.capitals(rng, hand) for _ in range(800))
    for country in countries():
        for value in (country.capital, country.currency, country.language, country.continent):
            assert value.upper() in text
        assert country.inner.upper() in text


def test_facts_are_told_backwards() -> None:
    hand = Deck(countries(), random.Random(3))
    rng = random.Random(4)
    text = "\n".join(pages.backward(rng, hand) for _ in range(2500))
    for country in countries():
        assert f"is the capital of {country.inner}." in text or f"is the capital city of {country.inner}." in text


def test_exposure_is_even() -> None:
    text = "\n".join(document.text for document in islice(documents(random.Random(1)), 12_000))
    told = sorted(text.count(fact_sentence(country, "capital")) for country in countries())
    mean = sum(told) / len(told)
    assert 0.5 * mean < told[0]
    assert told[-1] < 1.6 * mean


def test_a_quiz_never_answers() -> None:
    decks = dialogues.cast(random.Random(5))
    rng = random.Random(6)
    text = "\n".join(dialogues.quiz(rng, decks) for _ in range(300))
    for country in countries():
        for attribute in ASKED:
            assert fact_sentence(country, attribute) not in text
    assert UNKNOWN.split("{")[0] not in text
    assert text.count("?") > 1500


def test_conversations_admit_what_they_do_not_know() -> None:
    text = "\n".join(document.text for document in sample() if document.kind.startswith("talk_"))
    assert text.count("I do not know a country called") > 150
    for country in countries():
        assert UNKNOWN.format(x=country.inner) not in text


def test_records_are_json() -> None:
    lines = [line for document in sample() if document.kind == "page_records" for line in document.text.splitlines()]
    found = {json.loads(line)["country"] for line in lines if line}
    assert found <= known_names()
    assert len(found) == 193


def test_invented_names_of_the_test_are_not_in_the_corpus() -> None:
    text = "\n".join(document.text for document in sample())
    stems = {name.removeprefix("the ").removesuffix(" Islands").split()[-1] for name in invented_names("test")}
    found = {word.strip(".,:?'\"") for word in text.split()}
    assert not stems & found


def test_invented_names_are_many_and_unlike_real_ones() -> None:
    train, test = set(invented_names("train")), set(invented_names("test"))
    assert len(train) > 1000
    assert len(test) > 500
    assert not train & test
    real = {country.name for country in countries()} | {country.capital for country in countries()}
    for name in train | test:
        assert name not in real
        assert name.removeprefix("the ") not in real


def test_phrases_of_the_test_are_never_drawn_for_train() -> None:
    rng = random.Random(2)
    pairs = {(adjective, noun) for adjective in pool("adjectives") for noun in pool("nouns")}
    for split in ("train", "test"):
        for _ in range(200):
            drawn = phrase(rng, split).strip(".").split()
            inside = [pair for pair in (tuple(drawn[at : at + 2]) for at in range(len(drawn))) if pair in pairs]
            assert [split_of(f"combo:{a} {n}") for a, n in inside] == [split]


def test_a_spoken_list_joins_its_last_two() -> None:
    assert spoken_list(["salt"]) == "salt"
    assert spoken_list(["salt", "oil"]) == "salt and oil"
    assert spoken_list(["salt", "oil", "tea"]) == "salt, oil and tea"


def test_names_that_only_tuning_meets_are_in_no_page_and_no_test_row() -> None:
    def stems(names: tuple[str, ...]) -> set[str]:
        return {name.removesuffix(" Islands").split()[-1] for name in names}

    fresh = stems(fresh_names())
    assert len(fresh) >= 1500
    assert not fresh & (stems(invented_names("train")) | stems(invented_names("test")))
