"""People at a desk: what the notice says is what is said, and no held-out wording of a row is read before."""

from __future__ import annotations

import json
import random
import re
from itertools import islice

import pytest

from heedlm.atlas import corpus, desks, lexicon
from heedlm.atlas.facts import ASKED, countries, fact_sentence, translation_sentence, words
from heedlm.atlas.world import held_out


def _turns(talk: str) -> list[tuple[str, str]]:
    """(asked, answered) of a printed talk; neither holds a line break."""
    lines = [line.split(": ", 1)[1] for line in re.split(r"\n+", talk)]
    return list(zip(lines[::2], lines[1::2], strict=True))


def test_the_same_seed_gives_the_same_pages_and_the_corpus_holds_them_when_asked() -> None:
    pages = [page.text for page in islice(desks.documents(random.Random("atlas desks/0")), 30)]
    assert pages == corpus.texts("0", 30, {"desks": 1.0})
    assert not set(pages) & set(corpus.texts("0", 200))


def test_what_is_told_again_was_told_before() -> None:
    rng = random.Random(1)
    table = lexicon.table("desks")
    for _ in range(400):
        slots = {"client": "Ada Bell", "sender": "Omar Hale", "company": "Red Kite", "product": "lamps"}
        slots |= {"day": "Monday", "month": "May", "town": "Linden", "number": "3"}
        again = desks._told_again(rng, slots, table)
        if again.startswith("\n\nDear "):
            assert "Dear Ada Bell,\n\n" in again
            assert again.endswith("\nOmar Hale\nRed Kite")
            assert "lamps" in again
        else:
            for line in again.strip().splitlines():
                role, value = re.fullmatch(r"(.+?)[:?] (.+)", line).groups()  # type: ignore[union-attr]
                (name,) = [name for name, heads in table["roles"].items() if role in heads]
                assert slots[name] == value


def test_every_sentence_names_all_that_is_told_again() -> None:
    rng = random.Random(2)
    table = lexicon.table("desks")
    slots = {"client": "CLIENT", "sender": "SENDER", "company": "COMPANY", "product": "PRODUCT"}
    slots |= {"day": "Monday", "month": "May", "town": "Linden"}
    for bank, named in (("gets", ("CLIENT", "PRODUCT")), ("writes", ("SENDER", "COMPANY")), ("both", slots.values())):
        for wording in table[bank]:
            for _ in range(20):
                sentence = lexicon.expand(wording, rng, slots)
                assert not re.search(r"[{}|\[\]]", sentence)
                assert all(name in sentence for name in named if name.isupper()), wording


def test_a_question_outside_the_field_is_answered_with_the_words_of_the_notice_alone() -> None:
    rng = random.Random(3)
    facts = {fact_sentence(country, attribute) for country in countries() for attribute in ASKED}
    translations = {translation_sentence(word) for word in words()}
    outside = inside = 0
    for _ in range(300):
        page = desks._field(rng)
        assert not re.search(r"[{}|]", page)
        notice, talk = re.split(
            r"\n\n(?=(?:Visitor|Guest|Child|Q|Somebody|Traveller|Question|Boy|Neighbour): )", page, maxsplit=1
        )
        turns = _turns(talk)
        fields = {answered in facts for _, answered in turns if answered in facts | translations}
        assert len(fields) <= 1, "one desk, one field"
        for _, answered in turns:
            if answered in facts | translations:
                inside += 1
            else:
                assert answered in notice
                outside += 1
    assert 0.4 < outside / (outside + inside) < 0.7


def test_a_list_is_taken_down_as_it_was_said() -> None:
    rng = random.Random(4)
    forms = set()
    for _ in range(400):
        note = desks._note(rng)
        assert not re.search(r"[{}|]", note)
        if "\n" not in note:
            continue
        sentence, taken = note.split("\n", 1)
        taken = taken.strip()
        if taken.startswith("["):
            forms.add("array")
            items = json.loads(taken)
        else:
            forms.add("numbers" if taken.startswith("1. ") else "bullets" if taken.startswith("- ") else "plain")
            items = [re.sub(r"^(- |\d\. )", "", item) for item in re.split(r"\n|, ", taken)]
        places = [sentence.lower().find(item.lower()) for item in items]
        assert min(places) >= 0, note
        assert places[0] == min(places), note
    assert forms == {"array", "numbers", "bullets", "plain"}


@pytest.mark.parametrize(("bank", "end"), [("first", "startswith"), ("last", "endswith")])
def test_opposites_are_worded_alike(bank: str, end: str) -> None:
    verbs = {"first": r"begin|start|open|ahead|before|front|first", "last": r"end|finish|clos|after|behind|foot|last"}
    for wording in lexicon.table("desks")[bank]:
        assert re.search(verbs[bank], wording, re.I), (end, wording)
    assert len(lexicon.table("desks")["first"]) == len(lexicon.table("desks")["last"])


def test_no_held_out_wording_of_a_row_is_read_before() -> None:
    text = "\n".join(corpus.texts("0", 2500, {"desks": 1.0}))
    banks = [("email_apology", lexicon.table("letters")[name], name) for name in ("ask", "ask_facts", "ask_wants")]
    banks += [("", options, name) for name, options in lexicon.table("rules").items()]
    for task, options, name in banks:
        for number, wording in enumerate(options):
            key = "/".join(part for part in (task, "" if name == "ask" else name, str(number)) if part)
            fixed = max(re.split(r"\{\w+\}", wording), key=len).strip()
            if held_out(f"wording:{key}") and len(fixed.split()) >= 3:
                assert fixed not in text, wording
