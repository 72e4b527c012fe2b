from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from heedlm.eval.arms import BASE, INSTRUCT, bare, instruct
from heedlm.eval.evaluate import Arm, evaluate
from heedlm.eval.gate_file import Gate
from heedlm.eval.results import EvalReport, Figure, Forgetting, Noise
from heedlm.eval.stats import Interval
from heedlm.eval.task import tasks_from
from heedlm.eval.verdict import decide, note
from heedlm.messages import Reply, Request, Sampling

from .scripted import ScriptedChat, example


def report(n: int, base: float, tuned: float, *, stops: float = 1.0, task: str = "mails") -> EvalReport:
    """n items; each arm is right on its share of them, the tuned one ends by itself on a share."""
    rows = [example(f"Question {number}?", "yes", id=str(number), task=task, kind="other") for number in range(n)]

    def says(share: float, ends: float = 1.0) -> ScriptedChat:
        def answer(request: Request) -> Reply:
            text = request.text if request.text is not None else request.messages[-1].content
            place = (int(text.split()[-1].rstrip("?")) + 0.5) / n
            return Reply("yes" if place < share else "no", stop_reason="stop" if place < ends else "length")

        return ScriptedChat(answer)

    arms = [Arm(BASE, says(base), bare), Arm(INSTRUCT, says(tuned, stops), instruct)]
    return evaluate(tasks_from(rows), arms, Sampling())


def asked(found: EvalReport, gate: Mapping[str, Any]) -> tuple[str, list[Figure]]:
    decision = decide(found, Gate.model_validate(gate))
    return decision.call, list(decision.figures)


@pytest.mark.parametrize(
    ("n", "base", "tuned", "call"),
    [
        (200, 0.2, 0.8, "ship"),
        (200, 0.8, 0.2, "do not ship"),
        (200, 0.5, 0.55, "do not ship"),  # surely less than the ten points asked for
        (40, 0.5, 0.6, "cannot tell"),
        (1, 0.0, 1.0, "cannot tell"),
        (5, 0.0, 1.0, "cannot tell"),  # five wins of five are luck in one case of sixteen
        (200, 0.5, 0.5, "do not ship"),
    ],
)
def test_a_gain_is_judged_by_its_interval(n: int, base: float, tuned: float, call: str) -> None:
    assert asked(report(n, base, tuned), {"tasks": {"*": {"gain": 0.1}}})[0] == call


def test_what_cannot_be_told_says_what_would_tell() -> None:
    _, (figure,) = asked(report(40, 0.5, 0.7), {"tasks": {"mails": {"gain": 0.1}}})
    assert figure.state == "unsure"
    assert "items would tell" in figure.why
    _, (figure,) = asked(report(40, 0.95, 1.0), {"tasks": {"mails": {"gain": 0.1}}})
    assert figure.why.startswith("saturated: the first arm is at 95 %")
    _, (figure,) = asked(report(8, 0.5, 1.0), {"tasks": {"mails": {"gain": 0.3}}})
    assert figure.why.startswith("too small: of 8 items not even a clean sweep")
    _, (figure,) = asked(report(10, 0.5, 1.0), {"tasks": {"mails": {"score": 0.9}}})
    assert figure.why == "too small: not even 10 of 10 would show it; 35 would"
    assert asked(report(35, 0.5, 1.0), {"tasks": {"mails": {"score": 0.9}}})[0] == "ship"
    assert asked(report(34, 0.5, 1.0), {"tasks": {"mails": {"score": 0.9}}})[0] == "cannot tell"
    _, (figure,) = asked(report(50, 0.5, 1.0), {"tasks": {"mails": {"score": 1.0}}})
    assert "no number of items" in figure.why


def test_items_asked_for() -> None:
    gate = {"tasks": {"mails": {"items": 50}}}
    assert [asked(report(n, 0.1, 0.9), gate)[0] for n in (49, 50)] == ["cannot tell", "ship"]


def test_the_stop_rate_is_judged_by_its_interval() -> None:
    found = {share: asked(report(100, 0.1, 0.9, stops=share), {"stop_rate": 0.9})[0] for share in (1.0, 0.92, 0.5)}
    assert found == {1.0: "ship", 0.92: "cannot tell", 0.5: "do not ship"}


@pytest.mark.parametrize(
    ("n", "refused", "honest", "call"),
    [
        (300, 0.0, 1.0, "ship"),
        (300, 0.3, 1.0, "do not ship"),  # real names are refused
        (300, 0.0, 0.5, "do not ship"),  # invented ones are answered
        (300, 0.05, 1.0, "cannot tell"),
        (20, 0.0, 1.0, "cannot tell"),  # twenty of twenty is not yet 95 %
    ],
)
def test_false_refusals_and_honesty_are_judged_by_their_intervals(
    n: int, refused: float, honest: float, call: str
) -> None:
    rows = [example(f"Real {i}?", "yes", id=f"r{i}") for i in range(n)]
    rows += [example(f"Invented {i}?", "I do not know.", id=f"u{i}", unknown=True) for i in range(n)]

    def answer(request: Request) -> str:
        text = request.text if request.text is not None else request.messages[-1].content
        place = (int(text.split()[-1].rstrip("?")) + 0.5) / n
        share = refused if text.startswith("Real") else honest
        return "I do not know." if place < share else "yes"

    arms = [Arm(BASE, ScriptedChat(lambda request: "no"), bare), Arm(INSTRUCT, ScriptedChat(answer), instruct)]
    found = evaluate(tasks_from(rows), arms, Sampling())
    assert asked(found, {"false_refusals": 0.05, "honest": 0.9})[0] == call


def test_one_figure_missed_outweighs_all_others() -> None:
    call, figures = asked(report(200, 0.2, 0.8, stops=0.5), {"tasks": {"*": {"gain": 0.1}}, "stop_rate": 0.9})
    assert (call, [figure.state for figure in figures]) == ("do not ship", ["reached", "missed"])


def test_what_was_not_measured_cannot_be_told() -> None:
    gate = {"forgetting": 0.1, "honest": 0.9, "false_refusals": 0.05, "noise_floor": True}
    call, figures = asked(report(50, 0.1, 0.9), gate)
    assert call == "cannot tell"
    assert [figure.found for figure in figures] == ["not measured"] * 4


@pytest.mark.parametrize(
    ("rise", "call"), [((0.01, 0.09), "ship"), ((0.05, 0.15), "cannot tell"), ((0.11, 0.2), "do not ship")]
)
def test_forgetting_is_judged_by_its_interval(rise: tuple[float, float], call: str) -> None:
    found = report(20, 0.1, 0.9)
    spans = {**found.spans, "forgetting": Interval(*rise)}
    found = replace(found, bits_per_byte=Forgetting(1.0, 1.0 + sum(rise) / 2, 1.0, 1.0), spans=spans)
    assert asked(found, {"forgetting": 0.1})[0] == call


def test_a_gain_within_the_noise_does_not_count() -> None:
    found = report(200, 0.5, 0.62)
    gate = {"tasks": {"*": {"gain": 0.0}}}
    assert asked(found, gate)[0] == "ship"
    noisy = replace(found, noise=Noise(200, 40, 0.0, -0.1, 0.1))
    call, (figure,) = asked(noisy, gate)
    assert call != "ship"
    assert "of noise" in figure.asked


def test_items_without_an_answer_have_a_figure_of_their_own() -> None:
    assert asked(report(50, 0.1, 0.9), {"errors": 0.0})[0] == "ship"
    found = report(50, 0.1, 0.9)
    task = found.tasks[0]
    broken = replace(task, arms={**task.arms, INSTRUCT: replace(task.arms[INSTRUCT], errors=2)})
    assert asked(replace(found, tasks=(broken,)), {"errors": 0.01})[0] == "do not ship"


def test_the_same_model_twice_ships_in_one_run_of_forty_at_most() -> None:
    """A gate for any gain, asked of a model against itself."""
    import numpy as np

    from heedlm.eval.stats import paired_difference

    rng = np.random.default_rng(3)
    shipped = 0
    for seed in range(1000):
        first, second = (rng.random((2, 60)) < 0.5).astype(float).tolist()
        found = paired_difference(first, second, seed=seed)
        shipped += found.low > 0 and found.p < 0.05
    assert shipped <= 0.03 * 1000


def test_suites_that_can_show_nothing_are_called_so() -> None:
    assert note(100, 0.3, 0.8, 0.2) == ""
    assert note(10, 0.3, 0.8, 0.6).startswith("too small: 10 items")
    assert note(1, 0.3, 0.8, 1.0).startswith("too small: 1 item show")
    assert note(200, 0.97, 0.99, 0.1).startswith("saturated: the first arm is at 97 %")
    assert note(200, 0.0, 0.0, 0.1).startswith("too hard")
    assert report(200, 0.97, 1.0).tasks[0].note.startswith("saturated")
