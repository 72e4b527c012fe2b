"""Pages that write the same in another form: exact, varied, and without what the test asks."""

from __future__ import annotations

import json
import random
import re
from itertools import islice

from heedlm.atlas import corpus, forms, lexicon
from heedlm.atlas.names import invented_names
from heedlm.atlas.world import held_out


def pages(count: int, seed: int = 0) -> list[str]:
    return [page.text for page in islice(forms.documents(random.Random(seed)), count)]


def test_the_same_seed_gives_the_same_pages_and_the_corpus_holds_them_when_asked() -> None:
    assert pages(20) == pages(20) != pages(20, seed=1)
    assert corpus.texts("0", 5, {"forms": 1.0}) == pages_of_corpus(5)
    assert not set(pages_of_corpus(50)) & set(corpus.texts("0", 200))


def pages_of_corpus(count: int) -> list[str]:
    return [page.text for page in islice(forms.documents(random.Random("atlas forms/0")), count)]


def test_a_list_written_again_is_the_same_list() -> None:
    seen = 0
    rng = random.Random(3)
    for _ in range(300):
        text = forms._rewritten(rng)
        for found in re.finditer(r"\[.*\]", text):
            items = json.loads(found.group())
            others = [
                line for line in text.splitlines() if line == ", ".join(items) or line.endswith(f": {', '.join(items)}")
            ]
            seen += bool(others) and 3 <= len(items) <= 6
    assert seen > 50


def test_every_form_can_be_read_back() -> None:
    items = ["moon", "old tree", "salt"]
    assert forms.FORMS["array"](items) == '["moon", "old tree", "salt"]'
    assert forms.FORMS["spoken"](items) == "moon, old tree and salt"
    assert forms.FORMS["numbers"](items).splitlines() == ["1. moon", "2. old tree", "3. salt"]
    assert set(forms.FORMS) == set(forms.FORM_NAMES)


def test_words_to_be_placed_stand_where_the_page_says() -> None:
    rng = random.Random(5)
    for _ in range(200):
        put, front = "", False
        for line in forms._placed(rng).splitlines():
            alone, bar, both = line.partition(" | ")
            if not bar:
                front = any(line.startswith(head.format(p="").rstrip()) for head in forms._BEFORE)
                put = ""
                continue
            words = both[: -len(alone)].strip() if front else both[len(alone) :].strip()
            assert words
            assert both == (f"{words} {alone}" if front else f"{alone} {words}")
            assert put in ("", words)
            put = words


def test_no_invented_name_of_the_test_and_no_wording_of_a_row_is_read_before() -> None:
    text = "\n".join(pages(3000))
    stems = {name.removeprefix("the ").removesuffix(" Islands").split()[-1] for name in invented_names("test")}
    assert not stems & set(re.findall(r"\w+", text))
    banks = {**lexicon.table("rules"), **{f"format_{form}": bank for form, bank in lexicon.table("lists").items()}}
    banks |= {"email_apology": lexicon.table("letters")["ask"], "guide": lexicon.table("guides")["ask"]}
    for bank, wordings in banks.items():
        for number, wording in enumerate(wordings):
            fixed = max(re.split(r"\{\w\w*\}", wording), key=len).strip()
            if held_out(f"wording:{bank}/{number}") and len(fixed.split()) >= 3:
                assert fixed not in text, (bank, wording)
