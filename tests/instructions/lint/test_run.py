"""Running the linter: order, places, switching off, mending, speed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.instructions import library
from heedlm.instructions.lint.registry import RULES
from heedlm.instructions.lint.run import count, lint_file, lint_text, mend, told

FILE = """---
name: mail
inputs: [{name: mail, kind: string}]
heed: {trust: {mail: data}}
---
system:
# Task
Please summarise the mail in  one sentence.

# Constraints
- You MUST write in English.
- Do not mention prices.

user:
{{ mail }}
"""


def rules(text: str, **more: object) -> list[str]:
    return [one.rule for one in lint_text(text, **more).findings]  # type: ignore[arg-type]


def test_findings_name_file_and_line_in_order() -> None:
    found = lint_text(FILE, "mail.prompty").findings
    assert [(one.where, one.rule) for one in found] == [
        ("mail.prompty:1", "HD701"),
        ("mail.prompty:8", "HD115"),
        ("mail.prompty:8", "HD205"),
        ("mail.prompty:11", "HD203"),
        ("mail.prompty:12", "HD202"),
    ]
    assert lint_text(FILE, "mail.prompty") == lint_text(FILE, "mail.prompty")


def test_a_rule_is_switched_off_with_a_reason_in_a_block_or_for_the_file() -> None:
    one = FILE.replace("- Do not", '{# heed: ignore HD202 reason="our lawyers ask for it" #}\n- Do not')
    report = lint_text(one)
    assert "HD202" not in [found.rule for found in report.findings]
    assert [(found.rule, why) for found, why in report.ignored] == [("HD202", "our lawyers ask for it")]
    whole = FILE.replace("heed: {", 'heed: {ignore: {HD203: "house style", HD701: "an example"}, ')
    assert not {"HD203", "HD701"} & set(rules(whole))
    elsewhere = FILE.replace("Please", '{# heed: ignore HD202 reason="not here" #}\nPlease')
    assert "HD202" in rules(elsewhere)
    assert "HD001" in rules(FILE.replace("- Do not", "{# heed: ignore HD202 #}\n- Do not"))
    assert "HD001" in rules(FILE.replace("heed: {", 'heed: {ignore: {HD999: "x"}, '))


def test_what_cannot_be_compiled_cannot_be_switched_off() -> None:
    text = FILE.replace("heed: {", 'heed: {ignore: {HD100: "x", HD401: "x"}, ').replace("{{ mail }}", "{{ male }}")
    assert "HD401" in rules(text)


def test_only_some_rules() -> None:
    assert rules(FILE, only=["HD203"]) == ["HD203"]
    with pytest.raises(HeedError, match="HD2O3"):
        rules(FILE, only=["HD2O3"])


def test_mechanical_mends_are_written_once_and_find_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "mail.prompty"
    path.write_text(FILE)
    report = lint_file(path, fix=True)
    assert report.fixed == 2
    text = path.read_text()
    assert "Summarise the mail in one sentence." in text
    assert "- You must write in English." in text
    assert not {"HD115", "HD203", "HD205"} & {one.rule for one in report.findings}
    assert lint_file(path, fix=True).fixed == 0
    assert path.read_text() == text
    assert [one.name for one in tmp_path.iterdir()] == ["mail.prompty"]


def test_a_mend_keeps_line_ends_and_everything_else() -> None:
    text = FILE.replace("\n", "\r\n")
    mended, lines = mend(text, "mail.prompty")
    assert lines == 2
    assert mended.count("\r\n") == text.count("\r\n")
    kept = [line for line in text.split("\r\n") if "Please" not in line and "MUST" not in line]
    assert all(line in mended.split("\r\n") for line in kept)


def test_values_and_quoted_words_are_not_mended() -> None:
    text = FILE.replace("- You MUST write in English.", '- Reply "PLEASE WAIT" or "MUST GO" to {{ mail }} MUST.')
    mended, _ = mend(text, "mail.prompty")
    assert '"PLEASE WAIT" or "MUST GO"' in mended


QUIET = {
    "a question is a task": ("What is the capital of the country in the text? One word.", "HD101"),
    "verbs that no list holds": ("Rearrange the words of the text into one sentence.", "HD101"),
    "tags that an answer shall have": ("Put the title in one line between <<title>> signs, or as <title>.", "HD113"),
    "a section of another text": ("Follow the Contributing section of the file in one sentence.", "HD113"),
    "a block of code": ("Reply in one sentence behind the JSON block.", "HD113"),
    "a path that a user may type": ('Map words such as "/help" to one command.', "HD113"),
    "a mark that is spoken of": ("Replace the <mask> token by one word.", "HD410"),
    "quoted words": ("Find the comment 'TODO: improve this' and the word \"good\" in one line.", "HD404"),
    "placeholders with other words": ("Mark [address] and [adders] in one line.", "HD404"),
    "signs of the answer": ("Put one of the tags [BUG], [NIT] before each line.", "HD403"),
    "the first of several": ("The first paragraph must start with one word of the text.", "HD110"),
    "what happens in the text": ("Describe the letter to a friend who recently moved, in one line.", "HD219"),
    "a quantity of the story": ("Write one line on several people who wait.", "HD209"),
}


@pytest.mark.parametrize("name", QUIET)
def test_ordinary_prompts_are_left_alone(name: str) -> None:
    text, rule = QUIET[name]
    assert rule not in rules(f"system:\n# Task\n{text}\n\nuser:\nx")


def test_budgets_are_read_and_written() -> None:
    from heedlm.instructions.format import parse
    from heedlm.instructions.write import write

    both = parse(FILE.replace("heed: {", "heed: {budget: {tokens: 600, characters: 90}, "))
    assert (both.budget, both.characters) == (600, 90)
    assert parse(write(both)) == both
    assert (parse(FILE.replace("heed: {", "heed: {budget: 600, ")).characters) == 0
    assert "HD100" in rules(FILE.replace("heed: {", "heed: {budget: {token: 600}, "))
    assert "HD512" in rules(FILE.replace("heed: {", "heed: {budget: {characters: 90}, "))


def test_broken_files_are_findings_not_crashes() -> None:
    for text in (
        "",
        "---\n",
        "---\na: [\n---\n",
        "{{",
        "{% if %}",
        "```",
        "\x00",
        "#",
        "# \n",
        "system:",
        "---\n---\n",
        "\ud7ff",
    ):
        report = lint_text(text)
        assert any(one.severity == "error" for one in report.findings), repr(text)


def test_ugly_bodies_are_read_by_every_rule() -> None:
    """No rule falls over a text, whatever stands in it."""
    ugly = [
        "system:\n# Task\n"
        + text
        + "\n# Notation\n- : \n- a:\n# Commands\n/\n# Constraints\n- \n-\n1.\n# Output format\nJSON {\n# Examples\n:\n\nuser:\nx"
        for text in (
            "\t\t",
            "....",
            "a" * 5000,
            "if " * 200,
            "“”‘’",
            "नमस्ते दुनिया",
            "<<>>",
            "[]{}()",
            "\u202e\u200b",
            "$ $$ ${}",
            "- " * 50,
        )
    ]
    for text in ugly:
        lint_text(text)


def test_the_report_is_plain_json() -> None:
    import json

    report = lint_text(FILE, "mail.prompty")
    held = json.loads(json.dumps(told(report)))
    first = held["findings"][1]
    assert (first["rule"], first["severity"], first["where"], first["fixable"]) == (
        "HD115",
        "warning",
        "mail.prompty:8",
        True,
    )
    assert {"why", "mend", "source", "what", "name"} <= set(first)
    assert count([report]) == {"error": 0, "warning": 1, "info": 4}


def test_a_hundred_files_are_read_in_two_seconds(tmp_path: Path) -> None:
    names = library.names()
    for number in range(100):
        text = library.source(names[number % len(names)])[0]
        (tmp_path / f"{number}.prompty").write_text(
            text.replace("[house-blocks#", "[heed:house-blocks#") + f"\nNumber {number}.\n"
        )
    start = time.process_time()
    for number in range(100):
        lint_file(tmp_path / f"{number}.prompty")
    spent = time.process_time() - start
    assert spent < 4, f"{spent:.2f} s"  # 2 s on a quiet machine; benchmarks/instructions.py holds that figure


def test_every_rule_is_known_to_the_registry_by_its_hundred() -> None:
    assert list(RULES) == sorted(RULES, key=lambda id_: (int(id_[2:]) // 100 if id_ > "HD099" else 0, int(id_[2:])))


@pytest.mark.parametrize(
    ("shout", "calm"),
    [
        ("- You MUST write in English!!!", "- You must write in English!"),
        ("- NEVER mention prices.", "- Never mention prices."),
        ("Write it once. DO NOT repeat it.", "Write it once. Do not repeat it."),
        ("IMPORTANT: ALWAYS name the date.", "Important: always name the date."),
        ("**IMPORTANT** Return JSON ONLY.", "**Important** Return JSON only."),
        ("Write to NASA and you MUST be polite.", "Write to NASA and you must be polite."),
        ('You MUST answer "YOU MUST GO!!" then.', 'You must answer "YOU MUST GO!!" then.'),
        ("IMPORTANT: NEVER GIVE ADVICE!!!", None),
        ("ONLY NASA may be named.", None),
    ],
)
def test_a_shout_is_lowered_whole_or_left_to_a_person(shout: str, calm: str | None) -> None:
    text = FILE.replace("- You MUST write in English.", shout)
    mended, _ = mend(text, "mail.prompty")
    assert mended.split("\n")[10] == (calm or shout)
    assert ("HD203" in rules(mended)) is (calm is None)
