"""The instructions that come with heed: complete, compiled everywhere, and a pleasure to the linter."""

from __future__ import annotations

import pytest

from heedlm.instructions import library
from heedlm.instructions.answers import failures
from heedlm.instructions.compile import compile_
from heedlm.instructions.format import load
from heedlm.instructions.frame import FORMATS, frame_for
from heedlm.instructions.given import with_examples
from heedlm.instructions.layout import Layout
from heedlm.instructions.lint.run import lint_file

FIVE = {"data analysis", "summarisation", "email", "creative writing", "guide writing"}


def test_there_are_enough_of_them_and_one_of_each_kind() -> None:
    found = [load(name) for name in library.names()]
    assert len(found) >= 11
    assert {tag for one in found for tag in one.meta["tags"]} >= FIVE
    assert all(one.about and one.name == name for one, name in zip(found, library.names(), strict=True))


@pytest.mark.parametrize("name", library.names())
def test_no_rule_finds_an_error_or_a_warning(name: str) -> None:
    report = lint_file(name)
    assert not [one for one in report.findings if one.severity != "info"]


@pytest.mark.parametrize("name", library.names())
def test_each_compiles_in_every_notation_and_format_with_every_block(name: str) -> None:
    instruction = load(name)
    values, _ = with_examples(instruction, {})
    for format_ in FORMATS:
        frame = None if format_ == "messages" else frame_for("atlas", format_)
        for notation in (None, "markdown", "xml", "label", "plain"):
            found = compile_(instruction, values, layout=Layout(notation=notation), frame=frame)  # type: ignore[arg-type]
            there = {*found.survived, *found.empty, *(one.block for one in (found.wire.spans if found.wire else ()))}
            assert set(instruction.ids) <= there
            assert not found.escapes


@pytest.mark.parametrize("name", library.names())
def test_its_examples_pass_its_checks(name: str) -> None:
    instruction = load(name)
    for shot in instruction.shots:
        assert not failures(instruction, shot.output)
