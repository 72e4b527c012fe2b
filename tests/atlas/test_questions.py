from __future__ import annotations

import json
import random
import re
from collections import Counter
from functools import cache
from typing import Any

import pytest

from heedlm.atlas import asked_facts, asked_lists, asked_rules, systems, wordings
from heedlm.atlas.facts import countries, words
from heedlm.atlas.names import invented_names
from heedlm.atlas.questions import TASKS, counts, rows
from heedlm.atlas.world import Split, held_out, split_of

HELD_COUNTRIES = {country.name for country in countries() if held_out(country.key)}


@cache
def made(split: Split) -> tuple[dict[str, Any], ...]:
    return tuple(rows(split, random.Random(7)))


def text_of(row: dict[str, Any]) -> str:
    return "\n".join(message["content"] for message in row["messages"])


def of(split: Split, task: str) -> list[dict[str, Any]]:
    return [row for row in made(split) if row["meta"]["task"] == task]


def names_in(text: str) -> set[str]:
    """The countries named in ``text``; the longest name wins, so Guinea is not found in Papua New Guinea."""
    text = text.replace("Port of Spain", "").replace("PORT OF SPAIN", "")
    names = sorted((country.name for country in countries()), key=len, reverse=True)
    found = re.findall("|".join(rf"\b{re.escape(name)}\b" for name in names), text, flags=re.IGNORECASE)
    lowered = {name.lower(): name for name in names}
    return {lowered[each.lower()] for each in found}


def passes(check: dict[str, Any], reply: str) -> bool:
    """A small reading of the checks that these rows use."""
    value, kind = check.get("value"), check["type"]
    lines = reply.splitlines()
    return bool(
        {
            "equals": lambda: " ".join(reply.split()) == " ".join(value.split()),
            "iequals": lambda: reply.casefold() == value.casefold(),
            "contains": lambda: value in reply,
            "starts-with": lambda: reply.startswith(value),
            "ends-with": lambda: reply.endswith(value),
            "upper-case": reply.isupper,
            "json-equals": lambda: json.loads(reply) == value,
            "line-count": lambda: len(lines) == check["equal"],
            "bullet-count": lambda: sum(line.startswith("- ") for line in lines) == check["equal"],
            "numbered-count": lambda: (
                [line.split(". ")[0] for line in lines] == [str(number + 1) for number in range(check["equal"])]
            ),
        }[kind]()
    )


def banks() -> dict[str, tuple[str, ...]]:
    found = {
        "role": systems.ROLES,
        "form_name": asked_facts._NAME_ONLY,
        "form_capitals": asked_facts._CAPITALS,
        "form_json": asked_facts._AS_JSON,
        "switch": wordings.SWITCHES,
        "translation": wordings.WORD_QUESTIONS,
    }
    found |= {f"facts_{attribute}": bank for attribute, bank in wordings.QUESTIONS.items()}
    found |= {f"follow_{attribute}": bank for attribute, bank in wordings.FOLLOW_UPS.items()}
    found |= {f"format_{form}": bank for form, bank in asked_lists._BANKS.items()}
    found |= {name: bank for name, bank in asked_rules._BANKS.items() if name != "sorry"}
    return found


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_gold_answer_passes_its_own_checks(split: Split) -> None:
    for row in made(split):
        answer = row["messages"][-1]["content"]
        assert row["meta"]["checks"], row["id"]
        for check in row["meta"]["checks"]:
            assert passes(check, answer), (row["id"], check)


@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_have_the_promised_numbers(split: Split) -> None:
    assert Counter(row["meta"]["task"] for row in made(split)) == counts(split)
    assert {task.name for task in TASKS} == set(counts(split))


def test_the_test_set_is_large_enough_for_its_intervals() -> None:
    sizes = counts("test")
    assert all(sizes[task.name] >= 60 for task in TASKS if task.gated)
    assert sum(size for name, size in sizes.items() if name.startswith("facts_")) >= 300
    assert sizes["unknown_country"] >= 100
    asked = {row["meta"]["fact"]["country"] for row in of("test", "facts_capital")}
    assert asked == HELD_COUNTRIES


def test_train_rows_scale_with_their_total() -> None:
    assert abs(sum(counts("train", 3000).values()) - 3000) <= len(TASKS)
    assert abs(sum(counts("train", 600).values()) - 600) <= len(TASKS)
    assert min(counts("train", 0).values()) == 1
    assert counts("test", 10) == counts("test")
    assert Counter(row["meta"]["task"] for row in rows("train", random.Random(1), 120)) == counts("train", 120)


def test_no_held_out_country_word_or_name_is_in_a_train_row() -> None:
    stems = {name.removeprefix("the ").removesuffix(" Islands").split()[-1] for name in invented_names("test")}
    hindi = {word.hindi for word in words() if held_out(word.key)}
    english = {word.english for word in words() if held_out(word.key)}
    for row in made("train"):
        text = text_of(row)
        assert not names_in(text) & HELD_COUNTRIES, row["id"]
        tokens = {token.strip(".,:?\"'") for token in text.split()}
        assert not tokens & stems
        assert not tokens & hindi
        if row["group"].startswith(("list:", "word:")):
            assert not set(row["group"].split(":")[1].split()) & english


def test_every_test_row_is_about_something_held_out() -> None:
    for row in made("test"):
        text = text_of(row)
        assert names_in(text) <= HELD_COUNTRIES, row["id"]
        kind, rest = row["group"].split(":")
        if kind == "list":
            assert all(held_out(f"word:{word}") for word in rest.split())
        elif kind == "name":
            assert rest in invented_names("test")
        else:
            assert held_out(row["group"]), row["id"]


def test_groups_and_ids_of_the_splits_never_meet() -> None:
    for key in ("group", "id"):
        train, test = {row[key] for row in made("train")}, {row[key] for row in made("test")}
        assert not train & test
    assert len({row["id"] for row in made("train")}) == len(made("train"))
    assert len({row["id"] for row in made("test")}) == len(made("test"))


def test_train_rows_use_taught_wordings_and_combinations_only() -> None:
    for row in made("train"):
        meta = row["meta"]
        if "wording" in meta:
            assert split_of(f"wording:{meta['wording']}") == "train", row["id"]
        if "combo" in meta:
            assert split_of(f"combo:{meta['combo']}") == "train", row["id"]
    text = "\n".join(text_of(row) for row in made("train"))
    for name, bank in banks().items():
        for number, wording in enumerate(bank):
            if name.startswith(("phrase", "decline", "capitals", "tone", "frame", "field")):
                key = f"wording:{name}/{number}"
                longest = max(re.split(r"\{\w+\}", wording), key=len)
                others = [
                    each
                    for other, found in banks().items()
                    for index, each in enumerate(found)
                    if not held_out(f"wording:{other}/{index}")
                ]
                if held_out(key) and not any(longest in each for each in others):
                    assert longest not in text, (key, longest)


def test_tests_use_held_out_wordings_and_combinations_too() -> None:
    for task in ("facts_capital", "facts_currency", "translation", "chat", "format"):
        sides = Counter(split_of(f"wording:{row['meta']['wording']}") for row in of("test", task))
        assert min(sides["train"], sides["test"]) >= 15
    combos = Counter(split_of(f"combo:{row['meta']['combo']}") for row in made("test") if "combo" in row["meta"])
    assert min(combos["train"], combos["test"]) >= 60


@pytest.mark.parametrize("name", sorted(banks()))
def test_every_bank_has_taught_and_held_out_wordings(name: str) -> None:
    sides = Counter(split_of(f"wording:{name}/{number}") for number in range(len(banks()[name])))
    assert len(banks()[name]) >= 6
    assert sides["train"] >= 3
    assert sides["test"] >= 1
    assert len(set(banks()[name])) == len(banks()[name])


def test_three_tenths_of_the_train_rows_carry_a_system_text() -> None:
    texts = [row["messages"][0]["content"] for row in made("train") if row["messages"][0]["role"] == "system"]
    assert len(texts) >= 0.3 * len(made("train"))
    marks = {"# Role": "markdown", "<role>": "xml", "Role:": "labels", "**Role": "bold", "[role]": "brackets"}
    marks |= {"ROLE": "capitals", "1. ": "numbers"}
    notations = Counter(
        next((name for mark, name in marks.items() if text.startswith(mark)), "plain") for text in texts
    )
    assert set(notations) == set(systems.NOTATIONS)
    assert min(notations.values()) >= 0.02 * len(texts)


def test_unknown_rows_are_marked_and_their_names_many() -> None:
    assert len({row["group"] for row in of("train", "unknown_country")}) >= 300
    assert len({row["group"] for row in of("test", "unknown_country")}) == 100
    for row in made("train") + made("test"):
        assert row["meta"].get("unknown", False) == (row["meta"]["task"] == "unknown_country")


def test_half_of_the_scope_rows_are_inside_and_the_fallback_stands_in_the_system_text() -> None:
    for split in ("train", "test"):
        found = of(split, "system_scope")
        inside = sum(row["meta"]["in_scope"] for row in found)
        assert 0.35 < inside / len(found) < 0.65
        for row in found:
            answer, system = row["messages"][-1]["content"], row["messages"][0]["content"]
            assert (answer in system) != row["meta"]["in_scope"]


def test_a_chat_row_has_earlier_turns_and_asks_without_its_attribute_or_country() -> None:
    for row in of("train", "chat"):
        turns = [message for message in row["messages"] if message["role"] != "system"]
        assert len(turns) in (4, 6)
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
        assert row["meta"]["fact"]["country"] not in turns[-2]["content"] or row["meta"]["shape"] == "switch"


def test_the_same_seed_gives_the_same_rows() -> None:
    assert tuple(rows("test", random.Random(7))) == made("test")
    assert tuple(rows("train", random.Random(8))) != made("train")


def test_rows_are_plain_json_without_role_markers() -> None:
    for row in made("train") + made("test"):
        assert json.loads(json.dumps(row, ensure_ascii=False)) == row
        text = text_of(row)
        assert not any(marker in text for marker in ("<|", "|>", "[INST]", "<s>", "Human:", "Assistant:"))
        assert all(message["content"] == message["content"].strip() != "" for message in row["messages"])
        assert len(row["messages"][-1]["content"].split()) <= 30


def test_meta_follows_the_task_table() -> None:
    table = {task.name: task for task in TASKS}
    for row in made("train") + made("test"):
        task = table[row["meta"]["task"]]
        assert (row["meta"]["kind"], row["meta"]["gated"]) == (task.kind, task.gated)
