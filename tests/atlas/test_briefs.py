"""Briefs and what came of them: the paper holds what its brief says, and no wording of a row is read before."""

from __future__ import annotations

import random
import re
from itertools import islice

from heedlm.atlas import briefs, corpus, lexicon
from heedlm.atlas.guides import guides
from heedlm.atlas.names import invented_names
from heedlm.atlas.stories import beginnings, endings
from heedlm.atlas.world import held_out


def test_the_same_seed_gives_the_same_pages_and_the_corpus_holds_them_when_asked() -> None:
    pages = [page.text for page in islice(briefs.documents(random.Random("atlas briefs/0")), 30)]
    assert pages == corpus.texts("0", 30, {"briefs": 1.0})
    assert not set(pages) & set(corpus.texts("0", 200))


def test_a_letter_goes_to_whom_its_brief_says_and_is_signed_as_it_says() -> None:
    rng = random.Random(1)
    for _ in range(300):
        page = briefs._letter(rng)
        brief, letter = page.split("Dear ", 1)
        client = letter.split(",")[0]
        sender = letter.rstrip().splitlines()[-2:]
        assert client in brief
        assert any(line in brief for line in sender)
        assert not re.search(r"[{}|\[\]]", page)


def test_a_guide_and_a_story_are_about_what_their_brief_says() -> None:
    rng = random.Random(2)
    topics = {guide.topic for guide in guides()}
    for _ in range(200):
        brief, page = briefs._guide(rng).split("\n\n", 1)
        topic = page.splitlines()[0].removeprefix("How to ")
        assert topic in topics
        assert topic in brief
        brief, story = briefs._story(rng).split("\n\n", 1)
        first, last = re.split(r"(?<=[.!?]) ", story)[0], story
        assert any(thing.lower() in first.lower() and thing.lower() in brief.lower() for thing in beginnings())
        assert any(thing.lower() in last.lower() and thing.lower() in brief.lower() for thing in endings())


def test_an_unknown_name_is_said_twice_and_none_of_the_test_is() -> None:
    stems = {name.removesuffix(" Islands").split()[-1] for name in invented_names("test")}
    rng = random.Random(3)
    for _ in range(200):
        for line in briefs._unknown(rng).splitlines():
            words = re.findall(r"\w+", line)
            assert not stems & set(words)
            assert max(words.count(word) for word in words if word[0].isupper()) >= 2


def test_no_held_out_wording_of_a_row_is_read_before() -> None:
    text = "\n".join(corpus.texts("0", 2000, {"briefs": 1.0}))
    for task, bank in (("email_apology", "letters"), ("guide", "guides"), ("story", "stories")):
        for number, wording in enumerate(lexicon.table(bank)["ask"]):
            fixed = max(re.split(r"\{\w+\}", wording), key=len).strip()
            if held_out(f"wording:{task}/{number}") and len(fixed.split()) >= 3:
                assert fixed not in text, wording
