"""The benchmark of instructions: sealed cases are sealed, answers that are right pass, and gepa is asked in earnest."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path

import pytest

from heedlm.instructions.asserts import judge
from heedlm.instructions.cases import read_cases
from heedlm.instructions.format import load
from heedlm.messages import Reply

PROMPTS = Path(__file__).resolve().parents[2] / "benchmarks" / "prompts"
FAMILIES = sorted({path.stem.split("-")[0] for path in PROMPTS.glob("*.prompty")})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_right_answer_passes_the_checks_and_nothing_searched_on_is_sealed(family: str, tmp_path: Path) -> None:
    world = importlib.import_module("instructions_world")
    assert set(FAMILIES) == set(world.FAMILIES)
    searched, sealed = world.parts(family, 30, 40)
    assert (len(searched), len(sealed)) == (30, 40)
    key = lambda row: json.dumps(row["vars"], sort_keys=True).casefold()  # noqa: E731
    assert not {key(row) for row in searched} & {key(row) for row in sealed}
    groups = [{row["group"] for row in part if "group" in row} for part in (searched, sealed)]
    assert not groups[0] & groups[1]
    file = tmp_path / "cases.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in sealed))
    hand = [load(str(path)) for path in sorted(world.PROMPTS.glob(f"{family}-*.prompty"))]
    assert len(hand) in (3, 4)
    for case in read_cases([file], hand, ()):
        assert judge(case.asserts, Reply(case.target, "stop", "")).value == 1, case.target
        assert judge(case.asserts, Reply("I do not know.", "stop", "")).value < 1


def test_every_measured_family_has_a_seed_with_wordings_to_choose_among() -> None:
    world = importlib.import_module("instructions_world")
    # By its file, for a folder of tests has the same name.
    spec = importlib.util.spec_from_file_location("benchmark_of_instructions", PROMPTS.parent / "instructions.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    assert len(benchmark.FAMILIES) >= 4
    for family in benchmark.FAMILIES:
        seed = load(str(world.PROMPTS / f"{family}-search.prompty"))
        assert len(seed.block("task").variants) == 4
        assert not seed.shots


def test_gepa_with_a_reflector_that_knows_and_the_staged_search_end_near_each_other() -> None:
    pytest.importorskip("gepa")
    gepa = importlib.import_module("instructions_gepa")
    race = gepa.measure(2, 2000)
    best = gepa.BASE + sum(gepa.EFFECTS.values())
    assert gepa.BASE < race.staged <= best + 1e-9
    assert gepa.BASE + 0.5 < race.gepa <= best + 1e-9  # it does climb: the reflector is heard
    assert race.ratio == pytest.approx(race.staged / race.gepa, abs=1e-3)
