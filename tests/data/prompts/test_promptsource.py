"""Files of promptsource are read without running their tags: what can be used is used, the rest is told."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from heedlm.data.prompts import library
from heedlm.data.prompts.apply import NOT_MEANT, Prompted, Prompting, group_columns, prompt_rows
from heedlm.data.prompts.lint import lint
from heedlm.data.prompts.promptsource import is_promptsource, parse_promptsource
from heedlm.data.sources import Row
from heedlm.errors import HeedError, Problem

FILE = r"""
dataset: ours
subset: small
templates:
  11111111-0000: !Template
    answer_choices: bad ||| good
    id: 11111111-0000
    jinja: "Is this {{ answer_choices | join(' or ') }}?\n{{ text }} |||\n{{ answer_choices[label] }}"
    metadata: !TemplateMetadata {choices_in_prompt: true, metrics: [Accuracy], original_task: true}
    name: Ask first
    reference: Ours
  22222222-0000: !Template
    answer_choices: null
    jinja: '{% if label == 1 %} Praise: {{ ["Say", "Write"] | choice }} ||| {{ text }} {% endif %}'
    name: only good
  33333333-0000: !Template
    answer_choices: "{{ options | join('|||') }}"
    jinja: "{% set seen = [] %}{% for o in options %}{{ seen.append(o) or '' }}{% endfor %}{{ seen | length }} things: {{ text }} ||| {{ ([label, label, 7] | most_frequent)[0] }}"
    name: made
  44444444-0000: !Template {jinja: "No target {{ text }}", name: none}
  55555555-0000: !Template {jinja: "{{ text ||| {{ label }}", name: broken}
  66666666-0000: !Template {jinja: "{{ now() }} ||| {{ text }}", name: clock}
  77777777-0000: !Template {jinja: "{{ answer_choices[0] }} ||| {{ text }}", name: lost}
  88888888-0000: !Template {jinja: "{{ text }} ||| ", name: empty}
  99999999-0000: !Template {jinja: "{{ text | rot13 }} ||| x", name: filter}
  aaaaaaaa-0000: !Template {name: nothing}
  bbbbbbbb-0000: !Template {jinja: "Twice: {{ text }} ||| {{ label }} ||| other", name: Ask first}
"""


def test_what_is_used_and_what_is_refused_and_why() -> None:
    templates, refused = parse_promptsource(FILE, "f.yaml")
    assert [template.name for template in templates] == ["ask-first", "only-good", "made", "ask-first-bbbbbbbb"]
    assert {template.family for template in templates} == {"ours/small"}
    reasons = Counter(problem.what.partition(":")[0] for problem in refused)
    assert reasons == {
        "no answer": 1,
        "broken Jinja": 2,
        "nondeterminism": 1,
        "undefined name": 1,
        "empty target": 1,
        "empty template": 1,
    }
    assert refused[0].where == "f.yaml:20"
    assert all(problem.mend for problem in refused)


def said(name: str, value: dict[str, object], seed: int = 0) -> list[str] | Problem:
    templates, _ = parse_promptsource(FILE, "f.yaml")
    how = Prompting(tuple(template for template in templates if template.name == name), seed=seed)
    (found,) = prompt_rows(Row(value, "x:1"), how)
    return [turn.content for turn in found.example.messages] if isinstance(found, Prompted) else found


def test_pipes_part_what_is_asked_from_what_is_answered() -> None:
    assert said("ask-first", {"text": "Fine.", "label": 1}) == ["Is this bad or good?\nFine.", "good"]
    assert said("ask-first", {"text": "a ||| b", "label": 0}) == ["Is this bad or good?\na ||| b", "bad"]
    assert said("ask-first-bbbbbbbb", {"text": "a", "label": 0}) == ["Twice: a", "0"]
    assert said("made", {"text": "t", "label": 3, "options": ["a", "b"]}) == ["2 things: t", "3"]


def test_rows_are_not_changed_by_a_template_that_builds_lists() -> None:
    row: dict[str, object] = {"text": "t", "label": 3, "options": ["a", "b"]}
    said("made", row)
    assert row["options"] == ["a", "b"]


def test_what_is_drawn_comes_from_the_seed() -> None:
    drawn = Counter(str(said("only-good", {"text": "t", "label": 1}, seed)) for seed in range(40))
    assert set(drawn) == {"['Praise: Say', 't']", "['Praise: Write', 't']"}
    assert said("only-good", {"text": "t", "label": 1}, 5) == said("only-good", {"text": "t", "label": 1}, 5)


def test_a_row_that_a_template_leaves_out_is_not_broken() -> None:
    found = said("only-good", {"text": "t", "label": 0})
    assert isinstance(found, Problem)
    assert found.what.startswith(NOT_MEANT)


def test_a_missing_column_is_told_and_an_empty_one_is_not() -> None:
    found = said("ask-first", {"label": 1})
    assert isinstance(found, Problem)
    assert "missing column: ask-first needs 'text'" in found.what
    assert said("ask-first", {"text": "", "label": 1}) == ["Is this bad or good?", "good"]


def test_rows_stay_together_by_what_is_asked() -> None:
    templates, _ = parse_promptsource(FILE, "f.yaml")
    assert group_columns(templates[0]) == ("text",)
    assert group_columns(templates[1]) == ("label", "text")  # the pipes stand in a condition: all of it counts


def test_tags_are_not_obeyed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    text = FILE.replace("reference: Ours", f"reference: !!python/object/apply:os.system ['touch {gone}']")
    templates, _ = parse_promptsource(text, "f.yaml")
    assert len(templates) == 4
    assert not gone.exists()


def test_the_library_reads_such_files(tmp_path: Path) -> None:
    path = tmp_path / "templates.yaml"
    path.write_text(FILE)
    found = library.find(str(path))
    assert (len(found.templates), len(found.refused)) == (4, 7)
    assert [one.name for one in library.find(f"{path}#made").templates] == ["made"]
    assert lint(found.templates[0]) == []
    path.write_text("dataset: x\ntemplates: {a: {jinja: x}}\n")
    with pytest.raises(HeedError, match="no answer"):
        library.find(str(path))


@pytest.mark.parametrize("text", ["dataset: x\ntemplates: [a]", "dataset: x\ntemplates:\n"])
def test_files_without_templates(text: str) -> None:
    with pytest.raises(HeedError, match="holds no templates"):
        parse_promptsource(text, "f.yaml")


def test_ours_is_not_taken_for_one() -> None:
    assert is_promptsource(FILE)
    assert not is_promptsource(library.source_of("qa-open"))


def test_all_public_files_can_be_read() -> None:
    """Every file of promptsource in the folder of public data parses; of its templates at least nine in ten are used."""
    folder = os.environ.get("HEED_PUBLIC_DATA")
    if not folder:
        pytest.skip("HEED_PUBLIC_DATA names no folder")
    files = [path for path in sorted(Path(folder).rglob("*.y*ml")) if is_promptsource(path.read_text(encoding="utf-8"))]
    if not files:
        pytest.skip("no file of promptsource among the public data")
    used, reasons = 0, Counter[str]()
    for path in files:
        templates, refused = parse_promptsource(path.read_text(encoding="utf-8"), str(path))
        used += len(templates)
        reasons.update(problem.what.partition(":")[0] for problem in refused)
    assert used >= 9 * reasons.total(), reasons
