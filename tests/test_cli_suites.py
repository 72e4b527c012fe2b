"""The commands of `heed suites`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

from heedlm.eval.scorers.registry import KINDS
from heedlm.eval.suites import shipped
from tests.typed import Heed


def test_list(heed: Heed) -> None:
    code, out, _ = heed("suites", "list")
    assert code == 0
    assert all(name in out for name in shipped.names())
    told = json.loads(heed("suites", "list", "--json")[1])["suites"]
    assert [suite["name"] for suite in told] == list(shipped.names())
    spread = next(suite for suite in told if suite["name"] == "format_spread")["tasks"][0]
    assert spread["asked"] == 10 * spread["items"]


def test_show_prints_items_as_they_are_asked(heed: Heed) -> None:
    code, out, _ = heed("suites", "show", "consistency", "--items", 1)
    assert code == 0
    assert "system: Answer every question in exactly one sentence." in out
    assert "x 4 wordings" in out
    assert heed("suites", "show", "held_out")[0] == 0
    told = json.loads(heed("suites", "show", "forgetting", "--items", 2, "--json")[1])
    assert len(told["tasks"][0]["shown"]) == 2
    assert told["tasks"][0]["baseline"] == 0.25


def test_the_source_of_a_suite_can_be_saved_and_changed(heed: Heed, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(heed("suites", "show", "held_out", "--source")[1])
    assert heed("suites", "show", mine)[0] == 0
    assert heed("suites", "show", mine, "--source")[1] == mine.read_text()


def test_a_wrong_name_is_refused_with_the_nearest(heed: Heed) -> None:
    code, _, err = heed("suites", "show", "constraint")
    assert code == 2
    assert "did you mean 'constraints'?" in err
    code, _, err = heed("suites", "scorers", "numerik")
    assert code == 2
    assert "did you mean 'numeric'?" in err
    assert heed("suites", "show", "none.yaml")[0] == 2


def test_check_finds_what_is_wrong_and_what_proves_nothing(heed: Heed, tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text('tasks:\n  t: {scorer: numeric, items: [{prompt: "1+1?", target: 2}]}\n')
    assert heed("suites", "check", good, "held_out")[:2] == (0, "1 item, 0 problems\n")
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "tasks:\n  t:\n    scorer: checks\n    items:\n"
        "      - {prompt: a, target: two words, checks: [{type: word-count, equal: 3}]}\n"
        "  u: {scorer: {type: length, min: 0, max: 3, unit: word}, items: [{prompt: a}]}\n"
    )
    code, out, _ = heed("suites", "check", bad)
    assert code == 1
    assert "unit is 'word'" in out
    bad.write_text(bad.read_text().replace("unit: word", "unit: words"))
    code, out, _ = heed("suites", "check", bad, "--json")
    told = json.loads(out)
    assert (code, told["items"], len(told["problems"])) == (1, 2, 1)
    assert "own answer scores 0.00" in told["problems"][0]["what"]
    assert told["problems"][0]["where"].startswith(f"{bad}:5")


def test_scorers_are_listed_each_with_its_options_and_example(heed: Heed) -> None:
    code, out, _ = heed("suites", "scorers")
    assert code == 0
    assert all(f"{name} " in out for name in KINDS)
    for name, kind in KINDS.items():
        code, out, _ = heed("suites", "scorers", name)
        assert code == 0
        assert all(option in out for option in kind.options)
        assert "scores 1:" in out
    told = json.loads(heed("suites", "scorers", "numeric", "--json")[1])["scorers"][0]
    assert told["options"]["decimal"]["default"] == "."


def test_a_name_that_was_mistyped_is_a_mistake_and_no_finding(heed: Heed, tmp_path: Path) -> None:
    code, out, err = heed("suites", "check", tmp_path / "nofile.yaml")
    assert (code, out) == (2, "")
    assert "no such suite" in err
    code, out, err = heed("suites", "check", "constraints", "forgeting")
    assert (code, out) == (2, "")
    assert "did you mean 'forgetting'?" in err
