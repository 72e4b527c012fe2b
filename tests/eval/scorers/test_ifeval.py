from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from heedlm.eval.scorers.ifeval import checkers, ifeval_problems, verdicts
from heedlm.eval.scorers.registry import make_scorer
from heedlm.messages import Example, Message

from .items import item

FOLDER = os.environ.get("HEED_PUBLIC_DATA", "")
public = pytest.mark.skipif(not FOLDER, reason="HEED_PUBLIC_DATA names no folder")


def prompts() -> list[Example]:
    rows = [json.loads(line) for line in (Path(FOLDER) / "ifeval_prompts.jsonl").read_text("utf8").splitlines()]
    return [
        Example(str(row["key"]), (Message("user", row["prompt"]), Message("assistant", "")), "ifeval:1", meta=row)
        for row in rows
    ]


def rule(kind: str, **given: Any) -> Example:
    return item(prompt="Say it.", instruction_id_list=[kind], kwargs=[given])


KEPT = [
    (rule("punctuation:no_comma"), "Hello there", "Hello, there"),
    (rule("keywords:existence", keywords=["rome", "sea"]), "Rome by the SEA", "Rome"),
    (rule("keywords:frequency", keyword="sea", frequency=2, relation="at least"), "sea to sea", "sea"),
    (rule("keywords:forbidden_words", forbidden_words=["cat"]), "category", "a Cat."),
    (rule("keywords:letter_frequency", letter="z", let_frequency=2, let_relation="at least"), "zoo zebra", "zoo"),
    (rule("language:response_language", language="de"), "Das ist ein schöner Tag im Garten.", "This is a fine day."),
    (rule("length_constraints:number_sentences", num_sentences=2, relation="at least"), "It is. It was.", "It is."),
    (rule("length_constraints:number_paragraphs", num_paragraphs=2), "One\n***\nTwo", "One\n\nTwo"),
    (rule("length_constraints:number_words", num_words=3, relation="less than"), "two words", "now three words"),
    (
        rule("length_constraints:nth_paragraph_first_word", num_paragraphs=2, nth_paragraph=2, first_word="so"),
        "One.\n\nSo two.",
        "One.\n\nTwo.",
    ),
    (rule("detectable_content:number_placeholders", num_placeholders=1), "Dear [name]", "Dear name"),
    (rule("detectable_content:postscript", postscript_marker="P.S."), "Bye.\nP.S. Come.", "Bye."),
    (rule("detectable_format:number_bullet_lists", num_bullets=2), "* a\n* b", "* a"),
    (rule("detectable_format:constrained_response"), "My answer is yes.", "Yes."),
    (rule("detectable_format:number_highlighted_sections", num_highlights=1), "*this* one", "this one"),
    (
        rule("detectable_format:multiple_sections", section_spliter="Part", num_sections=2),
        "Part 1 a Part 2 b",
        "Part 1 a",
    ),
    (rule("detectable_format:json_format"), "```json\n{}\n```", "a: b"),
    (rule("detectable_format:title"), "<<Sea>>\nIt is.", "Sea\nIt is."),
    (rule("combination:two_responses"), "One\n******\nTwo", "One"),
    (rule("combination:repeat_prompt", prompt_to_repeat="Say it."), "Say it. It.", "It."),
    (rule("startend:end_checker", end_phrase="Over."), "Roger. over.", "Over. Roger"),
    (rule("startend:quotation"), '"So"', "So"),
    (
        rule("change_case:capital_word_frequency", capital_frequency=2, capital_relation="at least"),
        "SO IT is",
        "So IT is",
    ),
    (rule("change_case:english_capital"), "THIS IS A LARGE AND FINE GARDEN", "This is a large and fine garden"),
    (rule("change_case:english_lowercase"), "this is a large and fine garden", "This is a large and fine garden"),
]


def test_all_kinds_of_ifeval_are_here() -> None:
    assert len(checkers()) == 25
    assert {example.meta["instruction_id_list"][0] for example, _, _ in KEPT} == set(checkers())


@pytest.mark.parametrize(("example", "kept", "broken"), KEPT, ids=lambda value: getattr(value, "id", None) and "")
def test_a_rule_is_kept_or_broken(example: Example, kept: str, broken: str) -> None:
    scorer = make_scorer("ifeval")
    assert not scorer.item_problems(example)
    assert scorer(example, kept).value == 1.0
    assert scorer(example, broken).value == 0.0
    assert example.meta["instruction_id_list"][0] in scorer(example, broken).why


def test_loose_forgives_a_first_line_and_levels_count_apart() -> None:
    row = item(prompt="?", instruction_id_list=["punctuation:no_comma", "startend:quotation"], kwargs=[{}, {}])
    said = 'Sure, here:\n"So it is"'
    assert make_scorer("ifeval")(row, said).value == 0.0
    assert make_scorer({"type": "ifeval", "loose": True})(row, said).value == 1.0
    assert make_scorer({"type": "ifeval", "level": "instruction"})(row, '"So, yes"').value == 0.5


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ({}, "a list of instruction ids"),
        ({"instruction_id_list": [], "kwargs": []}, "a list of instruction ids"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "a list of instruction ids"),
        ({"instruction_id_list": ["punctuation:no_coma"], "kwargs": [{}]}, "unknown instruction"),
        ({"instruction_id_list": ["startend:end_checker"], "kwargs": [{}]}, "lacks the argument 'end_phrase'"),
        ({"instruction_id_list": ["startend:end_checker"], "kwargs": [{"end_phrase": ""}]}, "lacks the argument"),
        ({"instruction_id_list": ["startend:quotation"], "kwargs": [{"x": 1}]}, "has no argument 'x'"),
        (
            {
                "instruction_id_list": ["length_constraints:number_words"],
                "kwargs": [{"num_words": 3, "relation": "about"}],
            },
            "refuses its arguments",
        ),
    ],
)
def test_broken_instructions_are_a_problem_of_the_item(meta: dict[str, Any], problem: str) -> None:
    assert problem in ifeval_problems(item(**meta), {})[0][0]


def test_loading_the_checkers_fetches_nothing_and_leaves_nltk_alone() -> None:
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "import nltk; before = nltk.download, nltk.word_tokenize\n"
        "from heedlm.eval.scorers.ifeval import checkers; checkers()\n"
        "assert before == (nltk.download, nltk.word_tokenize)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_sign_is_counted_where_lm_eval_would_draw_a_letter() -> None:
    """Two public prompts ask for # or !; judged by a drawn letter the same reply would pass or not by chance."""
    row = rule("keywords:letter_frequency", letter="#", let_frequency=2, let_relation="at least")
    scorer = make_scorer("ifeval")
    assert {scorer(row, "# one ## two").value for _ in range(20)} == {1.0}
    assert {scorer(row, "aaa eee iii ooo uuu # nnn sss ttt").value for _ in range(20)} == {0.0}


@public
def test_all_public_prompts_run_and_give_what_lm_eval_gives() -> None:
    checkers()
    from lm_eval.tasks.ifeval import utils

    rng = random.Random(2)
    bits = [
        "Hello, world.",
        "* a point",
        "*so*",
        '"',
        "SECTION 1",
        "P.S. bye",
        "[name]",
        "<<Title>>",
        "***",
        "yes",
        "\n",
    ]
    rows = prompts()
    assert len(rows) == 541
    assert len({kind for row in rows for kind in row.meta["instruction_id_list"]}) == 25
    for row in rows:
        assert not ifeval_problems(row, {})
        reply = rng.choice([" ", "\n"]).join(rng.choice(bits) for _ in range(rng.randint(1, 12)))
        if row.meta["key"] in (1122, 1129):
            continue  # they ask for a sign, and lm-eval judges them by a letter that it draws
        given = utils.InputExample(
            row.meta["key"], row.meta["instruction_id_list"], row.meta["prompt"], row.meta["kwargs"]
        )
        strict = utils.test_instruction_following_strict(given, reply).follow_instruction_list
        loose = utils.test_instruction_following_loose(given, reply).follow_instruction_list
        assert verdicts(row, reply, loose=False) == strict
        assert verdicts(row, reply, loose=True) == loose


@public
def test_our_checks_agree_with_those_of_ifeval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every disagreement has a cause that is found, and that the page of this room explains."""
    root = Path(__file__).resolve().parents[3]
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import ifeval_agreement as bench

    found = list(bench.pairs(Path(FOLDER)))
    unlike = [pair for pair in found if pair.ours != pair.theirs]
    assert 1 - len(unlike) / len(found) >= 0.995
    page = (root / "docs" / "rooms" / "eval.md").read_text("utf8")
    assert all(bench.cause(pair) and bench.cause(pair) in page for pair in unlike)
    for kind in bench.OURS:  # agreement on rules that nothing keeps, or everything, would be cheap
        kept = [pair.theirs for pair in found if pair.rule.kind == kind]
        assert 0 < sum(kept) < len(kept), kind
