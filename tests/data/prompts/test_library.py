"""The templates that come with heed: sound, varied, and fit for the columns that public data sets have."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import heedlm.data.prompts
from heedlm.data.clean.rules import RULES, Limits, clean, words_of
from heedlm.data.prompts import library
from heedlm.data.prompts.apply import Prompted, Prompting, prompt_rows, prompted, row_name
from heedlm.data.prompts.lint import lint_file
from heedlm.data.prompts.preview import wordings_of
from heedlm.data.sources import Row
from heedlm.errors import HeedError
from heedlm.eval.checks import example_problems, score_checks

FOLDER = Path(heedlm.data.prompts.__file__).parent / "library"
FAMILIES = {
    *("arithmetic", "classification", "code explanation", "code writing", "data to text", "dialogue", "email"),
    *("extraction to JSON", "extractive question answering", "grammar", "guide", "multiple choice"),
    *("natural language inference", "open question answering", "paraphrase", "reading comprehension", "rewriting"),
    *("sentiment", "story", "summarisation", "table analysis", "title", "translation"),
}
# Rows as public data sets have them (their fields, not their texts), with what must come out somewhere in the answer.
PUBLIC: list[tuple[str, dict[str, Any], str]] = [
    ("sentiment-review", {"text": "I liked it.", "label": 1}, "positive"),
    ("sentiment-review", {"idx": 3, "sentence": "a dull film", "label": 0}, "negative"),
    ("sentiment-review", {"review_body": "Great.", "sentiment": "positive"}, "positive"),
    ("sentiment-stars", {"review": "Fine.", "star": 1, "stars": 4}, "4 stars"),
    ("news-topic", {"text": "The match ended in a draw.", "label": 1}, "Sports"),
    ("nli-three-way", {"premise": "It rains.", "hypothesis": "It is wet.", "label": 0}, "yes"),
    ("nli-three-way", {"sentence1": "It rains.", "sentence2": "It is dry.", "gold_label": "no"}, "no"),
    ("nli-two-way", {"sentence1": "It rains.", "sentence2": "It is wet.", "label": 0, "idx": 1}, "yes"),
    ("paraphrase-pair", {"sentence1": "a b c", "sentence2": "c b a", "label": 0, "idx": 1}, "no"),
    ("paraphrase-pair", {"question1": "Why?", "question2": "How come?", "is_duplicate": 1}, "yes"),
    ("question-yes-no", {"passage": "Fish swim.", "question": "do fish swim", "answer": True}, "yes"),
    ("qa-open", {"question": "Who?", "answer": {"value": "Ada", "aliases": ["A."]}}, "Ada"),
    ("qa-open", {"question": "Who?", "answer": ["Ada", "A."]}, "Ada"),
    ("qa-open", {"question": "Who?", "correct_answer": "Ada", "distractor1": "Eva", "support": ""}, "Ada"),
    ("qa-open", {"question": "Who?", "answers": ["Ada", "A."]}, "Ada"),
    ("qa-extractive", {"context": "Ada came.", "question": "Who?", "answers": {"text": ["Ada"], "answer_start": [0]}}, "Ada"),
    ("qa-multiple-choice", {"question": "2+2?", "choices": ["3", "4", "5", "6"], "answer": 1}, "4"),
    ("qa-multiple-choice", {"question": "Where?", "choices": {"label": ["A", "B"], "text": ["here", "there"]}, "answerKey": "B"}, "there"),
    ("qa-multiple-choice", {"question_stem": "Who?", "choices": {"text": ["I", "you"], "label": ["A", "B"]}, "answerKey": "A"}, "I"),
    ("qa-multiple-choice", {"question": "Where?", "choices": {"label": ["1", "2"], "text": ["here", "there"]}, "answerKey": "1"}, "here"),
    ("qa-multiple-choice", {"article": "x", "question": "Why?", "options": ["this", "that"], "answer": "B"}, "that"),
    ("summarise-article", {"article": "A long text.", "highlights": "Short."}, "Short."),
    ("summarise-article", {"document": "A long text.", "summary": "Short.", "id": "1"}, "Short."),
    ("summarise-dialogue", {"dialogue": "A: Hi\nB: Hello", "summary": "They greet.", "id": "1"}, "They greet."),
    ("translate-english-hindi", {"translation": {"en": "water", "hi": "पानी"}}, "पानी"),
    ("translate-any", {"source": "Wasser", "target": "water", "target_lang": "English"}, "water"),
    ("describe-facts", {"meaning_representation": "name[X]", "human_reference": "X is."}, "X is."),
    ("describe-facts", {"input": ["X | is | Y"], "references": ["X is Y."], "target": "X is Y."}, "X is Y."),
    ("table-question", {"question": "Who?", "answers": ["Ada"], "table": {"header": ["n"], "rows": [["Ada"]]}}, "Ada"),
    ("simplify-text", {"original": "Hard.", "simplifications": ["Easy.", "Soft."]}, "Easy."),
    ("correct-grammar", {"sentence": "He go.", "corrections": ["He goes.", "He went."]}, "He goes."),
    ("judge-grammar", {"sentence": "He go.", "label": 0, "idx": 1}, "incorrect"),
    ("title-article", {"maintext": "A text.", "title": "Title"}, "Title"),
    ("dialogue-turns", {"dialog": ["Hi", "Hello"], "act": [1, 2]}, "Hello"),
    ("dialogue-reply", {"context": "Hi", "response": "Hello"}, "Hello"),
    ("story-from-prompt", {"prompt": "A sea.", "story": "Once."}, "Once."),
    ("guide-how-to", {"title": "Boil an egg", "text": "Boil it."}, "Boil it."),
    ("email-subject", {"email_body": "Hello, all.", "subject_line": "Hello"}, "Hello"),
    ("code-explain", {"func_code_string": "def f(): pass", "func_documentation_string": "Nothing."}, "Nothing."),
    ("code-write", {"task_id": 1, "text": "Write f.", "code": "def f(): pass"}, "```python\ndef f(): pass\n```"),
    ("arithmetic-word-problem", {"question": "1+1?", "answer": "It is <<1+1=2>>2.\n#### 2"}, "2"),
]  # fmt: skip


def test_there_are_at_least_thirty_over_all_families() -> None:
    found = library.families()
    assert set(found) == FAMILIES
    assert sum(map(len, found.values())) == 38  # as the page says
    assert all(name == library.shipped(name).name for name in library.names())


@pytest.mark.parametrize("name", library.names())
def test_each_is_sound_and_says_what_it_is(name: str) -> None:
    problems, number = lint_file(FOLDER / f"{name}.yaml")
    assert (problems, number) == ([], 1)
    template = library.shipped(name)
    assert template.about.endswith((".", "JSON."))
    assert template.fits
    assert len(template.asking(inverted=False)) >= 4
    assert any(wording.system for wording in template.wordings)
    assert len(wordings_of(template)) == len(template.wordings)


@pytest.mark.parametrize("name", library.names())
def test_wordings_differ_in_more_than_a_word(name: str) -> None:
    texts = {}
    for shown in wordings_of(library.shipped(name)):
        said = "\n".join(message.content for message in shown.example.messages[:-1])
        texts[shown.title] = set(re.findall(r"\w+", said.casefold()))
    assert not [
        (one, other)
        for one, other in combinations(texts, 2)
        if len(texts[one] ^ texts[other]) < 2 and len(texts[one]) > 12 and "turns" not in name
    ]


@pytest.mark.parametrize("name", library.names())
def test_what_they_make_passes_our_own_rules_and_checks(name: str) -> None:
    """No template writes what cleaning would flag; every check that it sends along is met by its own answer."""
    template = library.shipped(name)
    values = tuple(dict.fromkeys(str(row.get("label")) for row in template.examples))
    for seed in range(4):
        how = Prompting((template,), seed, notation="mix", gathered={name: values})
        for wording in template.wordings:
            for row in template.examples:
                one = prompted(Row(dict(row), "x:1"), row_name(row), template, wording, how).example
                found = clean(one, words_of(one), dict.fromkeys(set(RULES) - {"language"}, "flag"), Limits(5000, 0))
                assert not found.findings
                if "checks" in one.meta:
                    assert not example_problems(one)
                    assert score_checks(one, one.messages[-1].content).value == 1


@pytest.mark.parametrize(("name", "row", "answer"), PUBLIC, ids=lambda value: value if isinstance(value, str) else "")
def test_columns_of_public_data_need_no_mapping(name: str, row: dict[str, Any], answer: str) -> None:
    template = library.shipped(name)
    found = prompt_rows(Row(row, "x:1"), Prompting((template,), per_row=len(template.asking(inverted=False))))
    assert len(found) == len(template.asking(inverted=False))
    assert all(isinstance(one, Prompted) for one in found), found
    answers = [one.example.messages[-1].content for one in found if isinstance(one, Prompted)]
    assert answer in answers
    assert not [text for text in answers if "['" in text or "{'" in text]  # a list or an object, printed


def test_a_word_problem_loses_the_marks_of_the_calculator() -> None:
    row = {"question": "How many?", "answer": "She has 3*2=<<3*2=6>>6.\nSo 6+1=<<6+1=7>>7.\n#### 7"}
    template = library.shipped("arithmetic-word-problem")
    answers = {
        one.example.messages[-1].content
        for one in prompt_rows(Row(row, "x:1"), Prompting((template,), per_row=6))
        if isinstance(one, Prompted)
    }
    assert "She has 3*2=6.\nSo 6+1=7.\nThe answer is 7." in answers
    assert "7" in answers
    assert not [answer for answer in answers if "<<" in answer or "####" in answer]


def test_names_files_and_parts_of_files(tmp_path: Path) -> None:
    assert library.find("qa-open").templates == (library.shipped("qa-open"),)
    with pytest.raises(HeedError, match="no prompt template 'qa-opn'") as refused:
        library.find("qa-opn")
    assert "did you mean 'qa-open'?" in str(refused.value)
    with pytest.raises(HeedError, match="no such file"):
        library.find("mine.yaml")
    mine = tmp_path / "mine.yaml"
    mine.write_text(library.source_of("qa-open").replace("name: qa-open", "name: mine"))
    assert library.find(str(mine)).templates[0].name == "mine"
    assert library.find(f"{mine}#mine").templates[0].name == "mine"
    with pytest.raises(HeedError, match="no usable template 'other'"):
        library.find(f"{mine}#other")


def test_several_names_are_found_together_and_told_together(tmp_path: Path) -> None:
    assert [one.name for one in library.find_all(["qa-open", "title-article", "qa-open"])] == [
        "qa-open",
        "title-article",
    ]
    with pytest.raises(HeedError) as refused:
        library.find_all(["qa-opn", "none.yaml"])
    assert len(refused.value.problems) == 2
    copy = tmp_path / "copy.yaml"
    copy.write_text(library.source_of("qa-open"))
    with pytest.raises(HeedError, match="two templates are called 'qa-open'"):
        library.find_all(["qa-open", str(copy)])


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 10**20), st.floats(), st.text(max_size=12)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


@given(name=st.sampled_from(library.names()), data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_row_holds_there_is_a_conversation_or_a_reason(name: str, data: st.DataObject) -> None:
    template = library.shipped(name)
    example = data.draw(st.sampled_from(template.examples))
    row = {column.name: data.draw(st.one_of(JUNK, st.just(example.get(column.name)))) for column in template.columns}
    how = Prompting((template,), per_row=3, inverted=0.3, notation="mix", gathered={name: ("one", "two")})
    found = prompt_rows(Row(row, "x:1"), how)
    assert found
    for one in found:
        if isinstance(one, Prompted):
            assert all(message.content.strip() for message in one.example.messages)
        else:
            assert one.where == "x:1"
            assert one.mend
