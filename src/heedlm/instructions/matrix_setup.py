"""What a matrix is made of, from the files that a person names: instructions, cases, models. All problems in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.errors import HeedError, Problem
from heedlm.instructions.blocks import Instruction
from heedlm.instructions.cases import EXAMPLE, Case, Raw, cases_of, common_checks, read_cases
from heedlm.instructions.format import load
from heedlm.instructions.promptfoo import read_promptfoo


class SetUp(NamedTuple):
    """What is asked of whom. notes: what was not understood or is not done; nobody may miss it."""

    instructions: list[Instruction]
    cases: list[Case]
    models: list[str]
    notes: list[str]


def set_up(files: Sequence[str], cases: Sequence[Path], defaults: Sequence[Any], models: Sequence[str]) -> SetUp:
    """Instructions and cases of the files named. A YAML file among `files` is a promptfoo configuration, whose prompts,
    tests and, where `models` is empty, providers are taken. Raises HeedError with everything that is wrong."""
    problems: list[Problem] = []
    instructions: list[Instruction] = []
    raws: list[Raw] = []
    providers: list[str] = []
    notes: list[str] = []
    for name in files:
        try:
            if Path(name).suffix.lower() in (".yaml", ".yml"):
                taken = read_promptfoo(Path(name))
                instructions += taken.instructions
                raws += taken.cases
                providers += taken.models
                notes += taken.notes
            else:
                instructions.append(load(name))
        except HeedError as error:
            problems += error.problems
    paths = list(cases) or ([] if raws else _tests_of(instructions))
    if not paths and not raws and not problems:
        problems.append(Problem("there are no cases", "--cases", f"a file with lines such as {EXAMPLE}"))
    chosen = list(models) or list(dict.fromkeys(providers))
    if not chosen:
        problems.append(
            Problem("no model is named", "--model", "--model atlas, or --model http://127.0.0.1:8000/v1#NAME")
        )
    if problems and not instructions:
        raise HeedError.of(problems)
    shared, told = common_checks(instructions)
    wanted = [*defaults, *shared]
    made: list[Case] = []
    try:
        made += read_cases(paths, instructions, wanted) if paths else []
    except HeedError as error:
        problems += error.problems
    try:
        made += cases_of(raws, instructions, wanted) if raws else []
    except HeedError as error:
        problems += error.problems
    if problems:
        raise HeedError.of(problems)
    return SetUp(instructions, made, chosen, [*notes, *told])


def _tests_of(instructions: Sequence[Instruction]) -> list[Path]:
    """The files of cases that the instructions name themselves, beside them."""
    found = [Path(one.file).parent / one.tests for one in instructions if one.tests and one.file]
    return list(dict.fromkeys(found))
