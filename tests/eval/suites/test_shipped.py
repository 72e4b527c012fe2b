from __future__ import annotations

import pytest

from heedlm.eval.suites import proof, shipped
from heedlm.eval.suites.suite import VARIANT, axes
from heedlm.messages import Role

NAMES = ("consistency", "constraints", "five_kinds", "forgetting", "format_spread", "held_out")


def test_the_suites_that_ship() -> None:
    assert shipped.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_item_can_be_passed_and_silence_passes_none(name: str) -> None:
    assert proof.doubts(shipped.find(name).tasks) == []


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("held_out", "forgetting")])
def test_no_question_passes_as_its_own_answer(name: str) -> None:
    """Checks that anything passes would prove nothing."""
    for suite_task in shipped.find(name).tasks:
        examples = suite_task.task.examples
        passed = sum(suite_task.task.scorer(one, one.messages[-2].content).value >= 1.0 for one in examples)
        assert passed <= 0.2 * len(examples), suite_task.task.name


def test_the_five_kinds_are_all_there() -> None:
    kinds = {one.task.kind for one in shipped.find("five_kinds").tasks}
    assert kinds == {"data_analysis", "summarisation", "email", "creative_writing", "guide"}


def test_consistency_varies_wordings_samples_and_turns() -> None:
    found = {one.task.name: axes(one.task) for one in shipped.find("consistency").tasks}
    assert found["rules_over_wordings"] == found["facts_over_wordings"] == ["wording"]
    assert found["rules_over_samples"] == ["sample"]
    assert found["rules_over_turns"] == ["turn"]


def test_formats_are_eight_or_more_and_no_two_are_alike() -> None:
    (one,) = shipped.find("format_spread").tasks
    names = {example.meta[VARIANT]["format"] for example in one.task.examples}
    assert len(names) >= 8
    assert len({example.messages[0].content for example in one.task.examples}) == len(one.task.examples)


def test_the_right_choice_has_no_place_of_its_own() -> None:
    for one in shipped.find("forgetting").tasks:
        places = [example.meta["choices"].index(example.messages[-1].content) for example in one.task.examples]
        assert len(set(places)) == len(one.task.examples[0].meta["choices"])


def test_every_item_asks_something_in_a_role_that_a_template_knows() -> None:
    roles: set[Role] = {"system", "user", "assistant"}
    for name in NAMES:
        for one in shipped.find(name).tasks:
            for example in one.task.examples:
                assert {turn.role for turn in example.messages} <= roles
                assert example.messages[-2].role == "user"
                assert example.messages[-2].content.strip()
