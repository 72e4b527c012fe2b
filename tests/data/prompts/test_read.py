"""A template file is read whole, and every mistake in it is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from heedlm.data.prompts.read import parse_template, plain, read_template
from heedlm.data.prompts.template import STYLES
from heedlm.errors import HeedError

SMALL = """
name: small
family: title
columns: {text: the text, title: its title}
answer: "{{ title }}"
wordings: ["Title: {{ text }}"]
examples: [{text: a, title: b}]
"""


def test_a_small_template() -> None:
    template = parse_template(SMALL, "small.yaml")
    assert (template.name, template.family, [column.name for column in template.columns]) == (
        *("small", "title"),
        ["text", "title"],
    )
    wording = template.wordings[0]
    assert (wording.name, wording.ask, wording.answer) == ("1", (("", ("Title: {{ text }}",)),), "{{ title }}")
    assert template.styles == STYLES
    assert template.check == "none"
    assert template.at("wordings", 0) == "small.yaml:6"


def test_choices_need_no_answer_and_are_checked_in_evaluation() -> None:
    text = SMALL.replace('answer: "{{ title }}"', "choices: {right: title, names: {good: [1, 'yes'], bad: 0}}")
    template = parse_template(text, "f")
    assert template.choices is not None
    assert template.choices.names == ("good", "bad")
    assert template.choices.values == {"1": "good", "yes": "good", "0": "bad"}
    assert template.wordings[0].answer == "{{ choice }}"
    assert template.check == "iequals"


WRONG = {
    "unknown key": ("name: small", "name: small\nwording: x", "did you mean 'wordings'"),
    "no name": ("name: small", "", "name is missing"),
    "bad name": ("name: small", "name: Small One", "small letters"),
    "no family": ("family: title", "", "family is missing"),
    "no columns": ("columns: {text: the text, title: its title}", "", "columns are missing"),
    "odd column": ("title: its title}", "a b: x}", "cannot be called"),
    "column of a list": ("title: its title}", "title: [x]}", "column 'title' is"),
    "column with an odd key": ("title: its title}", "title: {abuot: x}}", "did you mean 'about'"),
    "optional by word": ("title: its title}", "title: {optional: maybe}}", "expected true or false"),
    "no wording": ('wordings: ["Title: {{ text }}"]', "", "no wording asks"),
    "wordings as text": ('wordings: ["Title: {{ text }}"]', "wordings: x", "expected a list"),
    "a number as wording": ('wordings: ["Title: {{ text }}"]', "wordings: [7]", "is 7, expected text"),
    "no answer": ('answer: "{{ title }}"', "", "has no answer"),
    "ask and turns": ('["Title: {{ text }}"]', "[{ask: a, turns: text}]", "one of the two"),
    "neither": ('["Title: {{ text }}"]', "[{answer: a}]", "one of the two"),
    "an empty block": ('["Title: {{ text }}"]', "[{ask: {task: ''}}]", "is empty"),
    "a block with an odd name": ('["Title: {{ text }}"]', "[{ask: {'a b': x}}]", "cannot be called"),
    "system of a number": ('["Title: {{ text }}"]', "[{ask: a, system: 7}]", "named blocks"),
    "no examples": ("examples: [{text: a, title: b}]", "", "at least one example"),
    "examples of texts": ("examples: [{text: a, title: b}]", "examples: [a]", "at least one example"),
    "unknown check": ("name: small", "name: small\ncheck: same", "check is 'same'"),
    "unknown style": ("name: small", "name: small\nstyles: ['A:']", "styles is 'A:'"),
    "unknown group": ("name: small", "name: small\ngroup: [txt]", "did you mean 'text'"),
    "another version": ("name: small", "name: small\nversion: 2", "reads 1"),
    "choices without a column": ("name: small", "name: small\nchoices: [a, b]", "which column holds"),
    "one choice": ("name: small", "name: small\nchoices: {right: title, names: [a]}", "at least two"),
    "the same choice twice": ("name: small", "name: small\nchoices: {right: title, names: [a, a]}", "all different"),
    "choices of both kinds": ("name: small", "name: small\nchoices: {right: title, names: [a, b], each: text}", "one of"),
    "choices of no kind": ("name: small", "name: small\nchoices: {right: title}", "one of the two"),
    "a value of two choices": ("name: small", "name: small\nchoices: {right: title, names: {a: 1, b: '1'}}", "stands for"),
    "choices as text": ("name: small", "name: small\nchoices: a", "choices is 'a'"),
    "a tag": ("name: small", "name: !!python/name:os.system small", "means nothing here"),
    "about in a list": ("name: small", "name: small\nabout: [a]", "expected text"),
    "fits of objects": ("name: small", "name: small\nfits: [{a: b}]", "expected a list of texts"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(WRONG))
def test_each_mistake_is_told_where_it_stands(case: str) -> None:
    old, new, said = WRONG[case]
    assert old in SMALL
    with pytest.raises(HeedError, match=said) as refused:
        parse_template(SMALL.replace(old, new), "f.yaml")
    for problem in refused.value.problems:
        assert problem.where.startswith("f.yaml:")
        assert problem.mend


def test_all_mistakes_are_told_at_once() -> None:
    text = SMALL.replace("name: small", "name: Small\nabuot: x").replace("examples", "exmaples")
    with pytest.raises(HeedError) as refused:
        parse_template(text, "f.yaml")
    lines = sorted(int(problem.where.rpartition(":")[2]) for problem in refused.value.problems)
    assert lines[1:] == [2, 3, 8]


@pytest.mark.parametrize("text", ["", "7", "[a]", "just text"])
def test_what_is_no_template(text: str) -> None:
    with pytest.raises(HeedError, match="holds keys"):
        parse_template(text, "f.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="cannot be read"):
        read_template(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(HeedError, match="not UTF-8: byte 0xe9"):
        read_template(tmp_path / "latin.yaml")
    (tmp_path / "bom.yaml").write_text("\ufeff" + SMALL)
    assert read_template(tmp_path / "bom.yaml").name == "small"


@pytest.mark.parametrize(("value", "same"), [(1, "1"), (1.0, "1"), (True, "true"), (" Yes ", "yes"), (1.5, "1.5")])
def test_values_are_compared_plainly(value: object, same: str) -> None:
    assert plain(value) == same
