"""The moves: what each stage may change, and what no stage may."""

from __future__ import annotations

import random
from dataclasses import replace

from heedlm.instructions.bench import Candidate
from heedlm.instructions.blocks import Block, Output, Shot
from heedlm.instructions.format import parse
from heedlm.instructions.optimize.ledger import fingerprint
from heedlm.instructions.optimize.moves import STAGES, added, balanced, moves_of, shots_of, units
from heedlm.instructions.write import write
from tests.instructions.optimize.planted import POOL, SEED


def results(stage: str, instruction: object = SEED, **more: object) -> dict[str, Candidate]:
    start = Candidate(instruction)  # type: ignore[arg-type]
    moves = moves_of(stage, start, POOL, **more)  # type: ignore[arg-type]
    return {move.name: made for move in moves if (made := move.on(start)) is not None}


def test_frozen_blocks_come_through_every_move_of_every_stage_untouched() -> None:
    for stage in STAGES:
        found = results(stage)
        assert found
        for made in found.values():
            for id_ in ("task", "data"):
                assert made.instruction.block(id_) == SEED.block(id_)


def test_no_two_moves_make_the_same_and_each_can_be_written_and_read_back() -> None:
    for stage in STAGES:
        found = results(stage)
        assert len({fingerprint(one) for one in found.values()}) == len(found)
        for made in found.values():
            assert parse(write(made.instruction)).blocks == made.instruction.blocks


def test_an_instruction_of_frozen_blocks_has_no_moves_but_layout_and_what_it_lacks() -> None:
    frozen = replace(SEED, blocks=tuple(replace(one, frozen=True) for one in SEED.blocks))
    assert results("edits", frozen) == {}
    assert set(results("blocks", frozen)) == {"add output_format"}
    slot = replace(frozen, blocks=(*frozen.blocks, Block("shots", "examples", "", slot="examples", frozen=True)))
    assert results("shots", slot) == {}


def test_blocks_go_come_turn_and_change_their_variant() -> None:
    found = results("blocks")
    assert set(found) == {
        "add output_format",
        "role clerk",
        "without role",
        "without tone",
        "without rules",
        "rules before tone",
    }
    assert found["rules before tone"].instruction.ids == ("role", "task", "rules", "tone", "data")
    assert "clerk" in found["role clerk"].instruction.block("role").text


def test_a_block_that_holds_a_value_is_not_left_out() -> None:
    assert "without tone" not in results("blocks", SEED.with_text("tone", "As one who read {{ ticket }}."))


def test_an_output_format_is_made_of_outputs_or_of_few_short_answers() -> None:
    (made,) = added(SEED, [])
    assert made.text == 'Reply with one JSON object and nothing else: {"queue": "..."}'
    plain = replace(SEED, outputs=())
    (labels,) = added(plain, ["yes", "no", "yes", "no", "no", "no"])
    assert labels.text == "Reply with one of these and nothing else: no, yes"
    assert added(plain, []) == []
    assert added(plain, ["yes"] * 9) == []  # one label is no choice
    assert added(plain, ["yes", "no"]) == []  # too few to tell labels from free text
    assert added(plain, ["{{ x }}", "no"] * 3) == []
    (many,) = added(plain, [f"Label {n}" for n in range(13)] * 3)
    assert many.text == "Reply with the answer alone, in 2 words at most."
    assert added(SEED.with_block(made), ["a", "b"]) == []
    assert len(added(replace(SEED, outputs=(Output("a"), Output("b"))), ["x", "y"] * 3)) == 2


def test_edits_delete_and_turn_lines_of_blocks_that_may_be_edited() -> None:
    texts = {made.instruction.block("rules").text for made in results("edits").values()}
    assert "- Use one word.\n- Never say why." in texts
    assert "- Tell a joke first.\n- Use one word.\n- Never say why." in texts
    assert len(texts) == 5
    one = SEED.with_text("rules", "- Use one word.")
    assert results("edits", one) == {}
    values = SEED.with_text("rules", "Know {{ ticket }} well. Be short.")
    assert {made.instruction.block("rules").text for made in results("edits", values).values()} == {
        "Know {{ ticket }} well.",
        "Be short. Know {{ ticket }} well.",
    }


def test_shots_are_balanced_and_within_what_the_block_takes() -> None:
    mixed = balanced(POOL, 6, random.Random(0))
    assert sorted(one.output for one in mixed) == [f"queue {n}" for n in (0, 0, 1, 1, 2, 2)]
    assert len(set(map(str, balanced(POOL, 12, random.Random(1))))) == 12
    two = replace(SEED, blocks=(*SEED.blocks, Block("shots", "examples", "", slot="examples", most=2)))
    assert max(len(made.instruction.shots) for made in results("shots", two).values()) == 2
    start = Candidate(SEED)
    assert moves_of("shots", start) == []  # no pool: nothing to show


def test_shots_come_from_cases_with_an_answer() -> None:
    cases = [({"ticket": "a", "more": 1}, "x"), ({"ticket": "b"}, " ")]
    assert shots_of(cases, SEED) == [Shot({"ticket": "a"}, "x")]


def test_units_are_lines_or_sentences() -> None:
    assert units("One. Two! Three") == (["One.", "Two!", "Three"], " ")
    assert units("- a\n- b. c.") == (["- a", "- b. c."], "\n")
    assert units("") == ([""], " ")
