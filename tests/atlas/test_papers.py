"""The printed half of the world: the documents teach what the rows ask, the rows keep what is held out apart."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.atlas import articles, asks, guides, ledgers, letters, lexicon, papers, sales, stories
from heedlm.atlas.world import Document, Split, split_of
from heedlm.eval import text
from heedlm.eval.checks import check_problems, run_check

KINDS = {"sales_report", "article", "letter", "story", "guide", "ledger"}
LISTS = ("products", "first_names", "surnames", "companies", "towns")
_MAKERS: dict[str, Callable[[random.Random], Iterator[Document]]] = {
    "sales_report": sales.documents,
    "article": articles.documents,
    "letter": letters.documents,
    "story": stories.documents,
    "guide": guides.documents,
    "ledger": ledgers.documents,
}


def _rows(split: Split, seed: int = 0, count: int = 600) -> list[dict[str, Any]]:
    return list(papers.rows(split, random.Random(seed), count))


def _all_text(rows: list[dict[str, Any]]) -> str:
    return "\n".join(message["content"] for row in rows for message in row["messages"])


def _words(rows: list[dict[str, Any]]) -> set[str]:
    return set(text.words(_all_text(rows)))


# Documents ------------------------------------------------------------------------------------------------------------


def test_documents_of_one_seed_are_the_same_and_of_another_are_not() -> None:
    first, again, other = (list(itertools.islice(papers.documents(random.Random(s)), 50)) for s in (4, 4, 5))
    assert first == again
    assert first != other


def test_every_kind_comes_and_no_page_has_open_slots_or_choices() -> None:
    pages = list(itertools.islice(papers.documents(random.Random(0)), 2000))
    assert {page.kind for page in pages} == KINDS
    for page in pages:
        assert not set("{}[]") & set(page.text), page.text
        assert 20 <= len(page.text.split()) <= 400
        assert page.text == page.text.strip()


def test_pages_are_print_not_conversations() -> None:
    for page in itertools.islice(papers.documents(random.Random(1)), 500):
        for marker in ("User:", "Assistant:", "Human:", "<|", "### "):
            assert marker not in page.text


def test_names_have_about_equal_exposure_in_the_corpus() -> None:
    corpus = "\n".join(page.text for page in itertools.islice(papers.documents(random.Random(2)), 4000))
    counts = Counter(text.words(corpus))
    for name in lexicon.words("first_names"):
        assert counts[name] > 60, name
    for topic in articles.topics():
        assert topic.split(":")[1].casefold() in corpus.casefold()
    for guide in guides.guides():
        assert corpus.count(f"How to {guide.topic}") > 5


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_generator_yields_its_own_kind(kind: str) -> None:
    assert {page.kind for page in itertools.islice(_MAKERS[kind](random.Random(0)), 20)} == {kind}


# Figures --------------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), count=st.sampled_from([3, 4, 5, 6, 7, 8, 12]))
def test_figures_have_a_clear_top_and_two_digits(seed: int, count: int) -> None:
    figures = sales.draw(random.Random(seed), count)
    ranked = sorted(figures.values, reverse=True)
    assert len(figures.months) == len(set(figures.months)) == len(figures.values) == count
    assert all(10 <= value <= 99 for value in figures.values)
    assert ranked[0] - ranked[1] >= sales.CLEAR


def test_the_closing_agrees_with_the_figures() -> None:
    figures = sales.Figures(("May", "June", "July"), (20, 80, 30))
    assert sales.closing(figures) == (
        "The best month was June with 80 units.",
        "Sales rose from 20 in May to 30 in July.",
    )
    assert sales.Figures(("May", "June", "July"), (30, 80, 20)).trend == "fell"
    level = sales.Figures(("May", "June", "July"), (30, 80, 30))
    assert sales.closing(level)[1] == "Sales stayed level at 30 from May to July."


@pytest.mark.parametrize("style", ["lines", "inline", "colons", "bullets", "table"])
def test_a_listing_holds_every_month_with_its_figure_in_order(style: str) -> None:
    shown = sales.listing(sales.Figures(("May", "June", "July"), (20, 80, 30)), style)
    assert " ".join(word for word in text.words(shown) if word not in ("Month", "Units")) == "May 20 June 80 July 30"


def test_all_three_trends_are_asked_for() -> None:
    rows = list(sales.rows("train", random.Random(0), 200, sales.TREND))
    answers = " ".join(row["messages"][-1]["content"] for row in rows)
    assert all(word in answers for word in ("rose", "fell", "stayed level"))


def test_ledgers_name_the_true_highest_of_each_row() -> None:
    rows = 0
    for page in itertools.islice(ledgers.documents(random.Random(0)), 200):
        for line in page.text.splitlines():
            found = re.match(r"[A-Z]\w+: ([\d, ]+)\. Highest: (\d+)", line)
            if found:
                rows += 1
                assert int(found[2]) == max(int(value) for value in found[1].split(", "))
    assert rows > 50


# Articles, stories, guides --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", articles.topics())
def test_an_article_opens_each_paragraph_with_a_short_key_sentence(topic: str) -> None:
    rng = random.Random(topic)
    for _ in range(10):
        article = articles.write(topic, rng, lexicon.cast(rng))
        paragraphs = article.body.split("\n\n")
        assert [text.sentences(paragraph)[0] for paragraph in paragraphs] == list(article.keys)
        assert 5 <= len(text.sentences(article.body)) <= 7
        assert all(len(text.words(key)) <= 13 for key in article.keys), article.keys
        for key, named in zip(article.keys, article.entities, strict=True):
            assert all(entity.casefold() in key.casefold() for entity in named)
        assert [len(text.sentences(article.summary(count))) for count in (1, 2, 3)] == [1, 2, 3]


def test_a_story_begins_and_ends_as_its_items_say() -> None:
    rng = random.Random(0)
    for begins, ends in itertools.product(stories.beginnings(), stories.endings()):
        story = stories.write(begins, ends, rng, lexicon.cast(rng))
        told = text.sentences(story.text)
        assert begins in told[0]
        assert ends in told[-1]
        assert 4 <= len(told) <= 7
        assert story.hero in story.text


def test_guides_are_whole_and_their_topics_differ() -> None:
    found = guides.guides()
    assert len(found) >= 60
    assert len({guide.topic for guide in found}) == len(found)
    for guide in found:
        assert 3 <= len(guide.tools) <= 4
        assert len(guide.steps) == 4
        assert len(text.words(guides.page(guide, f"How to {guide.topic}"))) <= 90


# Rows -----------------------------------------------------------------------------------------------------------------


def test_rows_of_one_seed_are_the_same() -> None:
    assert _rows("train", 7) == _rows("train", 7)
    assert _rows("train", 7) != _rows("train", 8)


@pytest.mark.parametrize("split", ["train", "test"])
def test_gold_answers_pass_their_own_checks(split: Split) -> None:
    for row in _rows(split, 1, 1200):
        answer = row["messages"][-1]["content"]
        for check in row["meta"]["checks"]:
            assert not check_problems(check)
            verdict = run_check(check, answer)
            assert verdict.passed, (row["id"], verdict.why, answer)


def test_an_answer_to_another_row_fails() -> None:
    """Checks that let any answer of the task through would prove nothing."""
    rows = _rows("test", 2, 600)
    for task, group in itertools.groupby(rows, key=lambda row: row["meta"]["task"]):
        items = list(group)
        passed = sum(
            all(run_check(check, other["messages"][-1]["content"]).passed for check in row["meta"]["checks"])
            for row, other in itertools.pairwise(items)
            if row["group"] != other["group"]
        )
        assert passed <= 0.05 * len(items), task


def test_wrong_month_wrong_trend_and_invented_words_fail() -> None:
    figures = sales.Figures(("May", "June", "July"), (20, 80, 30))
    checks = [*sales._best_checks(figures), *sales._trend_checks(figures)]

    def passes(answer: str) -> bool:
        return all(run_check(check, answer).passed for check in checks)

    assert passes("The best month was June with 80 units. Sales rose from 20 in May to 30 in July.")
    assert not passes("The best month was May with 80 units. Sales rose from 20 in May to 30 in July.")
    assert not passes("The best month was June with 20 units. Sales rose from 20 in May to 30 in July.")
    assert not passes("The best month was June with 80 units. Sales fell from 20 in May to 30 in July.")
    assert not passes("The best months were June and May with 80 units. Sales rose.")
    row = next(articles.rows("test", random.Random(0), 1))
    invented = row["messages"][-1]["content"].replace(".", " yesterday evening.")
    assert not all(run_check(check, invented).passed for check in row["meta"]["checks"])


def test_names_of_the_two_splits_never_meet() -> None:
    train, test = _words(_rows("train", 3, 2500)), _words(_rows("test", 3, 900))
    for name in LISTS:
        for word in lexicon.words(name):
            if " " in word or name == "products":
                continue
            wrong_side = train if split_of(f"{name}:{word}") == "test" else test
            # Case matters: "Reed" is a family, "reed" a plant.
            assert word not in wrong_side, word


def test_held_out_products_topics_guides_and_pairs_are_never_tuned() -> None:
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        groups = {row["group"] for row in _rows(split, 4, 2500)}
        for group in groups:
            if group.startswith(("products:", "topic:", "guide:")):
                assert split_of(group) == split
    tuned, asked = set(stories.combinations("train")), set(stories.combinations("test"))
    assert tuned.isdisjoint(asked)
    assert {begins for begins, _ in tuned} < {begins for begins, _ in asked}


def test_about_two_fifths_of_each_list_are_held_out() -> None:
    for name in LISTS:
        share = sum(split_of(f"{name}:{word}") == "test" for word in lexicon.words(name)) / len(lexicon.words(name))
        assert 0.25 <= share <= 0.55, name


def test_tuning_uses_only_its_own_wordings_and_system_texts() -> None:
    asked = {
        "data_analysis_month": ("sales", "ask"),
        "data_analysis_trend": ("sales", "ask_trend"),
        "summarisation": ("summaries", "ask"),
        "email_apology": ("letters", "ask"),
        "story": ("stories", "ask"),
        "guide": ("guides", "ask"),
    }
    for task, (file, key) in asked.items():
        options = lexicon.table(file)[key]
        assert len(options) >= 6
        seen = {asks.wording(task, options, "train", random.Random(seed)) for seed in range(900)}
        assert seen == {option for i, option in enumerate(options) if split_of(f"wording:{task}/{i}") == "train"}
        heard = {asks.wording(task, options, "test", random.Random(seed)) for seed in range(900)}
        assert heard == set(options)


def test_a_wording_of_parts_is_tuned_only_if_no_part_is_held_out() -> None:
    task, names = "email_apology", ("ask_facts", "ask_wants")
    banks = {name: lexicon.table("letters")[name] for name in names}
    side = {(n, text): split_of(f"wording:{task}/{n}/{i}") for n, bank in banks.items() for i, text in enumerate(bank)}

    def sides(split: Split, seed: int) -> set[str]:
        found = asks.parts(task, banks, split, random.Random(seed))
        return {side[part] for part in zip(names, found, strict=True)}

    assert all(sides("train", seed) == {"train"} for seed in range(500))
    assert sum("test" in sides("test", seed) for seed in range(500)) >= 500 * 2 / 3


def test_a_part_of_the_rows_carries_a_system_text_in_several_notations() -> None:
    firsts = [row["messages"][0] for row in _rows("train", 5, 2500)]
    systems = [message["content"] for message in firsts if message["role"] == "system"]
    assert 0.2 <= len(systems) / 2500 <= 0.36
    for sign in ("# ", "<", ": ", "You "):
        assert any(sign in system for system in systems)


def test_counts_follow_the_shares_and_ids_are_unique() -> None:
    rows = list(papers.rows("train", random.Random(0)))
    counts = Counter(row["meta"]["task"] for row in rows)
    assert abs(len(rows) - papers.TRAIN_ROWS) <= len(papers.TASKS)
    assert set(counts) == {task.name for task in papers.TASKS}
    assert len({row["id"] for row in rows}) == len(rows)
    tests = Counter(row["meta"]["task"] for row in papers.rows("test", random.Random(0)))
    assert set(tests.values()) == {papers.TEST_ROWS_PER_TASK}
    assert list(sales.rows("train", random.Random(0), 0)) == []
