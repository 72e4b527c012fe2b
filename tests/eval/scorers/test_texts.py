from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.errors import HeedError
from heedlm.eval.scorers.registry import make_scorer
from heedlm.eval.scorers.texts import corpus_score, normalised

from .items import item

CASES = [
    ("exact", "Rome", "  Rome\n", 1.0),
    ("exact", "Rome", "rome", 0.0),
    ({"type": "exact", "case": False}, "Rome", "rome", 1.0),
    ("exact", "a  b", "a b", 1.0),
    ("normalised", "The Beatles", "beatles!", 1.0),
    ("normalised", "co-op", "co op", 1.0),
    ("normalised", "don't", "dont", 1.0),
    ("normalised", "the", "a", 0.0),
    ("normalised", "...", "...", 1.0),
    ("normalised", "...", "!", 0.0),
    ("normalised", "नमस्ते।", "नमस्ते", 1.0),
    ("contains", "Rome", "It is ROME, of course.", 1.0),
    ("contains", "Rome", "Romeo", 0.0),
    ("contains", "C++", "I like C++.", 1.0),
    ("contains", "दिल्ली", "यह दिल्ली है।", 1.0),
    ("contains", "दिल", "यह दिल्ली है।", 0.0),
    ({"type": "regex", "pattern": r"\d+"}, "", "no 12", 1.0),
    ({"type": "regex", "pattern": r"\d+"}, "", "none", 0.0),
    ({"type": "regex", "pattern": r"answer: (\w+)"}, "Rome", "answer: Paris. answer: rome", 1.0),
    ({"type": "regex", "pattern": r"answer: (\w+)"}, "Rome", "answer: Paris", 0.0),
    ("f1", "a b", "a b", 1.0),
    ("f1", "a b", "a c", 0.5),
    ("f1", "a b", "", 0.0),
    ("rouge_l", "the cat sat", "the cat sat", 1.0),
    ("rouge_l", "the cat sat", "cat the sat", 2 / 3),
    ("rouge_l", "यह दिल्ली है", "यह दिल्ली है।", 1.0),
    ("rouge_l", "the cat sat", "", 0.0),
    ("bleu", "The house is small.", "The house is small.", 1.0),
    ("bleu", "The house is small.", "", 0.0),
    ("bleu", "Yes.", "Yes.", 1.0),
    ("chrf", "The house is small.", "The house is small.", 1.0),
    ("chrf", "The house is small.", "xyz", 0.0),
    ({"type": "chrf", "words": 2}, "The house is small.", "The house is small.", 1.0),
]


@pytest.mark.parametrize(("spec", "target", "reply", "value"), CASES)
def test_a_reply_beside_its_target(spec: object, target: str, reply: str, value: float) -> None:
    score = make_scorer(spec)(item(target), reply)
    assert score.value == pytest.approx(value, abs=1e-6), score.why
    assert score.why


@pytest.mark.parametrize("name", ["exact", "normalised", "contains", "f1", "rouge_l", "bleu", "chrf"])
def test_the_best_of_several_targets_counts(name: str) -> None:
    scorer = make_scorer(name)
    row = item("Rome", targets=["Roma is a large city", "Rome is a large city"])
    assert scorer(row, "Rome is a large city").value == pytest.approx(1.0)


@given(st.text(), st.text())
def test_every_score_lies_between_0_and_1(target: str, reply: str) -> None:
    for name in ("exact", "normalised", "contains", "f1", "rouge_l", "bleu", "chrf"):
        assert 0.0 <= make_scorer(name)(item(target), reply).value <= 1.0


@given(st.text())
def test_normalising_twice_changes_nothing(value: str) -> None:
    assert normalised(normalised(value)) == normalised(value)


def test_bleu_of_all_replies_is_the_librarys_and_no_mean() -> None:
    import sacrebleu

    rows = [item("the cat sat on the mat"), item("a dog", targets=["a dog barks at night", "one dog barks at night"])]
    said = ["the cat sat on a mat", "a dog barked at night"]
    found, signature = corpus_score("bleu", make_scorer("bleu").options, rows, said)
    streams = [["the cat sat on the mat", "a dog barks at night"], [None, "one dog barks at night"]]
    assert found == pytest.approx(sacrebleu.corpus_bleu(said, streams).score)  # type: ignore[arg-type]
    assert "nrefs:var" in signature


def test_a_broken_pattern_is_refused_with_the_item() -> None:
    scorer = make_scorer({"type": "regex", "pattern": "("})
    assert "is no pattern" in scorer.item_problems(item("Rome"))[0].what
    with pytest.raises(HeedError, match="no pattern"):
        make_scorer("regex")
