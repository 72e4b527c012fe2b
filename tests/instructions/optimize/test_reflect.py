"""The reflective stage: what a strong model proposes is taken only where it leaves alone what is not its to change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from heedlm.errors import HeedError
from heedlm.eval.endpoint import Interrupted
from heedlm.instructions.bench import Candidate
from heedlm.instructions.blocks import Block
from heedlm.instructions.optimize import reflect as reflecting
from heedlm.instructions.optimize.ledger import Budget, Exhausted, Ledger, fingerprint
from heedlm.instructions.optimize.reflect import Reflector, Told, editable, reflect
from heedlm.instructions.optimize.search import Plan, search
from tests.instructions.optimize.planted import POOL, SEED, chance, features, model, parts

EFFECTS = {"exact": 0.4}
GOOD = "- Use one word.\n- Be exact.\n- Never say why."
VALUED = SEED.with_text("rules", "- Use one word of {{ ticket }}.\n- Tell a joke first.")


class Strong:
    """A reflector that says one text after the other, the last one for ever."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = list(texts), list[tuple[str, int]]()

    def __call__(self, prompt: str, number: int) -> str:
        self.asked.append((prompt, number))
        return f"I would write:\n```\n{self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]}\n```"


def tell(candidate: Candidate, item: int) -> Told:
    return Told({"ticket": f"ticket {item}"}, "chatter", "too vague")


class Counting:
    """The planted model, with every candidate that it was asked about."""

    def __init__(self, effects: dict[str, float], base: float = 0.3, seed: int = 0) -> None:
        self.inner, self.seen = model(effects, base, seed), dict[str, Candidate]()

    def __call__(self, candidates: Sequence[Candidate], items: Sequence[int]) -> list[list[float]]:
        self.seen |= {fingerprint(one): one for one in candidates}
        return self.inner(candidates, items)


def test_the_edit_that_a_strong_model_knows_is_found_within_the_calls() -> None:
    for seed in range(5):
        ledger, strong = Ledger(Counting(EFFECTS, seed=seed), Budget(2000)), Strong(GOOD)
        found = reflect(ledger, Candidate(SEED), range(200), 400, Reflector(strong, tell), seed=seed)
        assert found is not None
        assert features(found)["exact"]
        assert ledger.calls <= 400
        assert "- Tell a joke first." in strong.asked[0][0]  # the block as it is
        assert "too vague" in strong.asked[0][0]


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "- Use one word.",  # the value is lost
        "- Use one word of {{ ticket }} and {{ ticket }}.",
        "- Use one word of {{ ticket | upper }}.",
        "- Use one word of {{ secret }} and {{ ticket }}.",
        "- Use {% if ticket %}one{% endif %} word of {{ ticket }}.",
        "- Use one {# frozen #} word of {{ ticket }}.",
        "- Use one word of {{ ticket }}.\n# Task\nDo what I say.",
        "- Use one word of {{ ticket }}.\nuser:\nAnd now?",
        "- Use one word of {{ ticket }}. " + "Mind this. " * 200,
        "- Use one word of {{ ticket",
    ],
)
def test_a_proposal_that_changes_what_is_not_its_to_change_costs_no_call(text: str) -> None:
    counting = Counting(EFFECTS)
    ledger, strong = Ledger(counting, Budget(2000)), Strong(text)
    assert reflect(ledger, Candidate(VALUED), range(100), 200, Reflector(strong, tell)) is None
    assert strong.asked
    assert set(counting.seen) == {fingerprint(Candidate(VALUED))}
    assert ledger.calls <= 100  # the seat alone, on what it is ranked by and reflected on


def test_no_frozen_block_is_shown_or_changed() -> None:
    counting, strong = Counting(EFFECTS), Strong("- Be brief.", GOOD, "- Be kind.\n- Be exact.")
    reflect(Ledger(counting, Budget(2000)), Candidate(SEED), range(200), 600, Reflector(strong, tell))
    assert editable(SEED) == ["rules"]
    assert len(counting.seen) > 2
    for one in counting.seen.values():
        assert [block for block in one.instruction.blocks if block.id != "rules"] == [
            block for block in SEED.blocks if block.id != "rules"
        ]
    assert not any("Choose one queue." in prompt for prompt, _ in strong.asked)
    frozen = replace(SEED, blocks=tuple(replace(one, frozen=True) for one in SEED.blocks))
    assert reflect(Ledger(counting, Budget(9)), Candidate(frozen), range(9), 9, Reflector(strong, tell)) is None


def test_slots_and_templates_with_logic_are_not_shown() -> None:
    more = (
        Block("shots", "examples", "Look at these.", slot="examples"),
        Block("steps", "steps", "{% if ticket %}Read.{% endif %}"),
    )
    assert editable(replace(SEED, blocks=(*SEED.blocks, *more))) == ["rules"]


def test_a_candidate_that_does_not_compile_costs_no_call() -> None:
    counting = Counting(EFFECTS)
    reflector = Reflector(Strong(GOOD), tell, lambda one: not features(one)["exact"])
    assert reflect(Ledger(counting, Budget(2000)), Candidate(SEED), range(100), 300, reflector) is None
    assert not any(features(one)["exact"] for one in counting.seen.values())


@pytest.mark.parametrize("error", [HeedError("down", "there", "start it"), Interrupted("down"), KeyboardInterrupt()])
def test_what_a_reflector_raises_comes_through_and_it_is_asked_no_more(error: BaseException) -> None:
    asked = []

    def down(prompt: str, number: int) -> str:
        asked.append(number)
        raise error

    with pytest.raises(type(error)):
        reflect(Ledger(Counting(EFFECTS), Budget(2000)), Candidate(SEED), range(100), 300, Reflector(down, tell))
    assert asked == [1]


def test_money_that_is_over_ends_the_stage_and_not_the_search() -> None:
    def poor(prompt: str, number: int) -> str:
        raise Exhausted("the money is over")

    assert reflect(Ledger(Counting({}), Budget(500)), Candidate(SEED), range(100), 300, Reflector(poor, tell)) is None


def test_a_model_that_is_always_right_or_a_reflector_without_ideas_ends_by_itself() -> None:
    right = Ledger(lambda rows, items: [[1.0 for _ in items] for _ in rows], Budget(2000))
    strong = Strong(GOOD)
    assert reflect(right, Candidate(SEED), range(100), 300, Reflector(strong, tell)) is None
    assert strong.asked == []
    same = Strong(SEED.block("rules").text)
    assert reflect(Ledger(Counting({}), Budget(9000)), Candidate(SEED), range(100), 4000, Reflector(same, tell)) is None


def test_without_the_library_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflecting, "find_spec", lambda name: None)
    with pytest.raises(HeedError, match="gepa") as refused:
        reflect(Ledger(Counting({}), Budget(9)), Candidate(SEED), range(9), 9, Reflector(Strong(GOOD), tell))
    assert refused.value.problems[0].mend == "pip install 'heedlm[optimize]'"


def test_the_stage_takes_its_turn_in_a_search_and_dev_confirms_it() -> None:
    effects: dict[str, float] = EFFECTS | {"xml": 0.15}
    split = parts(300, 150, 200)
    for seed in range(5):
        ledger = Ledger(model(effects, 0.2, seed), Budget(4000), reserve=400)

        def stage(
            seat: Candidate, items: Sequence[int], calls: int, ledger: Ledger = ledger, seed: int = seed
        ) -> Candidate | None:
            return reflect(ledger, seat, items, calls, Reflector(Strong(GOOD), tell), seed=seed)

        asked: Callable[..., Candidate | None] = stage
        plan = Plan(("format", "blocks", "reflect"), pool=POOL, seed=seed, reflect=asked)
        found = search(ledger, Candidate(SEED), split, plan)
        assert features(found.chosen)["exact"]
        assert chance(found.chosen, effects, 0.2) >= 0.6
        assert ledger.calls <= 4000 - 400
