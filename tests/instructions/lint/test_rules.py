"""Every rule finds its bad example and leaves its good one alone."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from heedlm.instructions.format import parse_as_far
from heedlm.instructions.frame import Frame, frame_for, frame_of
from heedlm.instructions.lint.registry import RULES
from heedlm.instructions.lint.rule import GRADES, SEVERITIES, Rule
from heedlm.instructions.lint.run import lint
from heedlm.model.load import SHIPPED
from heedlm.tokens.tokenizer import load_tokenizer
from tests.instructions.wires import DROPS, OPEN, PUTS_IN, REFUSES, THINKING, THINKS, TURN


def framed(template: str, folder: Path) -> Frame:
    path = folder / "own.jinja"
    path.write_text(template)
    return frame_of(_tokenizer(), own=str(path))


@lru_cache
def _tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(SHIPPED["atlas"])


@lru_cache
def _usual(format_: str) -> Frame:
    return frame_for("atlas", format_)


def frames(rule: Rule, folder: Path) -> tuple[Frame | None, Frame | None]:
    """The frames in which the bad and the good example are looked at."""
    usual, completion = _usual("chat"), _usual("completion")
    own = {"HD509": THINKING, "HD501": DROPS, "HD502": REFUSES, "HD503": PUTS_IN, "HD508": TURN + OPEN, "HD511": THINKS}
    other = framed(own[rule.id], folder) if rule.id in own else usual
    by_rule = {"HD506": (completion, completion), "HD507": (completion, completion), "HD508": (usual, other)}
    by_rule |= {"HD501": (other, usual), "HD502": (other, usual)}
    if rule.id == "HD510":
        tokenizer = load_tokenizer(SHIPPED["atlas"])
        tokenizer.chat_template = TURN + OPEN
        by_rule[rule.id] = (frame_of(tokenizer, "alpaca"), frame_of(tokenizer, "chatml"))
    if rule.id == "HD706":
        by_rule[rule.id] = (usual, frame_of(_tokenizer(), model="runs/mine"))
    return by_rule.get(rule.id, (other, other)) if rule.needs else (None, None)


def findings(rule: Rule, text: str, folder: Path, frame: Frame | None) -> list[str]:
    path = folder / "mood.prompty"
    path.write_text(text)
    if rule.id in ("HD705", "HD706"):
        candidates = [{"fingerprint": "a", "source": rule.good}]
        lock = {"best": {"file": path.name, "fingerprint": "a"}, "candidates": candidates, "model": "runs/mine 0123"}
        (folder / "lock.json").write_text(json.dumps(lock))
    loaded = parse_as_far(text, str(path), path)
    return [one.rule for one in lint(loaded, text, frame).findings]


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_a_rule_finds_what_is_bad_and_not_what_is_good(rule: Rule, tmp_path: Path) -> None:
    (tmp_path / "mood.matrix.yaml").write_text('cases:\n  - {text: "Best bread in town."}\n')  # for HD307
    many = "".join(f"  - {{text: Case {number}.}}\n" for number in range(100))
    (tmp_path / "many.matrix.yaml").write_text(f"cases:\n{many}")
    bad, good = frames(rule, tmp_path)
    assert rule.id in findings(rule, rule.bad, tmp_path, bad)
    assert rule.id not in findings(rule, rule.good, tmp_path, good)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_good_examples_hold_no_error_at_all(rule: Rule, tmp_path: Path) -> None:
    loaded = parse_as_far(rule.good, str(tmp_path / "f.prompty"))
    assert not [one for one in lint(loaded, rule.good).findings if one.severity == "error"]


def test_there_are_enough_rules_with_good_evidence_and_all_their_words() -> None:
    assert len(RULES) >= 35
    assert sum(rule.grade in ("C", "X", "V") for rule in RULES.values()) >= 35
    for rule in RULES.values():
        assert rule.severity in SEVERITIES
        assert rule.grade in GRADES
        assert all((rule.name, rule.about, rule.why, rule.mend, rule.source))
        assert rule.why.endswith(".")
        assert rule.about.endswith(".")
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


def test_examples_that_begin_the_answer_are_a_cue_for_a_base_model(tmp_path: Path) -> None:
    rule = RULES["HD506"]
    shown = RULES["HD309"].good.partition("\nassistant:")[0]
    assert rule.id not in findings(rule, shown, tmp_path, _usual("completion"))
    assert rule.id in findings(rule, rule.bad, tmp_path, _usual("completion"))
