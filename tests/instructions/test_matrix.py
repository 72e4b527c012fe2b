"""What a matrix shows: intervals, paired differences, flips, formats, blocks, consistency, and the verdict on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.eval.stats import wilson
from heedlm.instructions.asserts import read_assertion
from heedlm.instructions.bench import Answer
from heedlm.instructions.cases import Case
from heedlm.instructions.format import load
from heedlm.instructions.matrix import Matrix, Outcome, clusters, matrix_of
from heedlm.instructions.matrix_files import write_report
from heedlm.instructions.matrix_gate import Asked, decide
from heedlm.instructions.matrix_report import Report, headline, markdown, told
from heedlm.instructions.matrix_run import Plan, run_matrix, ways_of
from heedlm.instructions.promptfoo import read_promptfoo
from heedlm.instructions.replies import Store
from tests.endpoints import asked, endpoint


def cases(n: int) -> list[Case]:
    found = read_assertion({"type": "contains", "value": "yes"}, "")
    assert not isinstance(found, list)
    return [Case(f"c{number}", {"x": str(number)}, (found,), source=f"c:{number}") for number in range(n)]


def outcome(
    name: str, scores: str, baseline: str = "", format_: str = "chat", without: str = "", samples: int = 1
) -> Outcome:
    """scores: one digit, 1 or 0, for each answer."""
    answers = tuple(
        Answer(
            f"c{number // samples}",
            float(digit),
            "as asked" if digit == "1" else "contains: no",
            "yes" * int(digit),
            "stop",
        )
        for number, digit in enumerate(scores)
    )
    return Outcome(name, "m", format_, answers, baseline, without, tokens=10.0)


def test_one_cell_against_its_baseline() -> None:
    found = matrix_of([outcome("empty", "0" * 20), outcome("a", "1" * 18 + "00", "empty")], cases(20))
    base, cell = found.cells
    assert (cell.low, cell.high) == tuple(wilson(18, 20))
    assert base.difference is None
    assert cell.difference is not None
    assert cell.difference.mean == pytest.approx(0.9)
    assert cell.p_holm == cell.difference.p < 0.001
    assert cell.sure == 1
    assert len(cell.flips) == 18
    assert all(one.won for one in cell.flips)
    assert cell.causes == (("contains", 2),)
    assert headline(found) == "a: 90 % of 20 cases, empty 0 %: +90 points, a sure gain."


def test_holm_over_cells_and_a_loss_is_told() -> None:
    rows = [outcome("empty", "1" * 12 + "0" * 8), outcome("a", "0" * 12 + "0" * 8, "empty")]
    rows += [outcome(name, "1" * 13 + "0" * 7, "empty") for name in "bcd"]
    found = matrix_of(rows, cases(20))
    worse = found.cells[1]
    assert worse.difference is not None
    assert worse.p_holm == pytest.approx(4 * worse.difference.p)
    assert worse.sure == -1
    assert [cell.sure for cell in found.cells[2:]] == [0, 0, 0]
    assert "may be luck" in headline(found)


def test_formats_blocks_and_consistency() -> None:
    rows = [outcome("empty", "0000"), outcome("empty", "0000", format_="chat/xml")]
    rows += [outcome("a", "1111", "empty"), outcome("a", "1000", "empty", format_="chat/xml")]
    rows += [outcome("a", "0000", without="task"), outcome("a", "1111", without="role")]
    found = matrix_of(rows, cases(4))
    spread = next(one for one in found.spreads if one.instruction == "a")
    assert (spread.mean, spread.worst, spread.spread) == (0.625, 0.25, 0.75)
    assert [(one.block, one.difference.mean) for one in found.worth] == [("task", 1.0), ("role", 0.0)]
    sampled = matrix_of([outcome("a", "11100011", samples=2)], cases(4), samples=2)
    assert sampled.cells[0].consistent == 0.75
    assert sampled.cells[0].score == pytest.approx(5 / 8)
    same = [*cases(2), Case("d", {}, cases(1)[0].asserts, paraphrase_of="c0"), Case("e", {}, (), paraphrase_of="c1")]
    assert clusters(same) == ["question c0", "question c1", "question c0", "question c1"]
    assert matrix_of([outcome("a", "1011")], same).cells[0].agreeing == 0.5
    assert clusters(cases(3)) is None


@pytest.mark.parametrize(
    ("asked_for", "n", "right", "call"),
    [
        (Asked(score=0.8), 60, 59, "ship"),
        (Asked(score=0.8), 60, 10, "do not ship"),
        (Asked(score=0.8), 5, 5, "cannot tell"),
        (Asked(gain=0.0), 60, 40, "ship"),
        (Asked(gain=0.0), 5, 4, "cannot tell"),
        (Asked(gain=0.5), 60, 10, "do not ship"),
        (Asked(consistent=0.9), 5, 5, "cannot tell"),
        (Asked(spread=0.1), 5, 5, "cannot tell"),
    ],
)
def test_verdicts(asked_for: Asked, n: int, right: int, call: str) -> None:
    rows = [outcome("empty", "0" * n), outcome("a", "1" * right + "0" * (n - right), "empty")]
    found = decide(matrix_of(rows, cases(n)), asked_for)
    assert found is not None
    assert found.call == call
    assert decide(matrix_of(rows, cases(n)), Asked()) is None


def test_odd_figures_are_refused_together() -> None:
    with pytest.raises(HeedError) as caught:
        Asked(score=80, gain=-2)
    assert len(caught.value.problems) == 2


def test_the_report_is_safe_and_whole(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|"
    rows = [outcome("empty", "01"), outcome(evil, "10", "empty")]
    found = matrix_of(rows, cases(2), notes=[evil])
    report = Report(found, decide(found, Asked(score=0.5)), 4, 0, {"command": evil})
    json_, words, page = write_report(report, tmp_path)
    html = page.read_text("utf8")
    assert "<script>alert" not in html
    assert "prefers-color-scheme: dark" in html
    assert "http://" not in html
    assert "<script>alert" not in words.read_text("utf8")
    kept = json.loads(json_.read_text("utf8"))
    assert kept["cells"][1]["flips"][0]["won"] is True
    assert kept["decision"]["call"] == "cannot tell"
    assert markdown(report).count("lost") >= 1
    empty = Matrix((), (), (), 1)
    assert headline(empty) == "Nothing was compared."
    assert told(Report(empty))["cells"] == []


def test_formats_by_name() -> None:
    assert [one.name for one in ways_of(["chat", "chat/xml", "chat"])] == ["chat", "chat/xml"]
    with pytest.raises(HeedError) as caught:
        ways_of(["chatt", "chat/xlm"])
    assert len(caught.value.problems) == 2


def test_an_endpoint_is_asked_once_and_a_matrix_goes_on(tmp_path: Path) -> None:
    triage = load("ticket-triage")
    store = tmp_path / "answers.jsonl"
    with endpoint(lambda body: "yes" if len(body["messages"]) > 1 else "no", hears=lambda body: body) as server:
        some = [Case(one.id, {"ticket": one.values["x"]}, one.asserts) for one in cases(10)]
        plan = Plan([triage], [f"{server.url}#m"], some, ("messages", "messages/xml"), ablate=True)
        done = run_matrix(plan, Store(store))
        blocks = [block for block in triage.blocks if block.kind != "data"]
        # Once the baseline, which has no notation; twice the whole, and twice without each block.
        assert done.calls == 10 * (1 + 2 * (1 + len(blocks)))
        assert len(server.heard) == done.calls
        cell = done.matrix.compared[0]
        assert (cell.score, cell.sure) == (1.0, 1)
        assert len(done.matrix.worth) == 2 * len(blocks)
        again = run_matrix(plan, Store(store))
        assert (again.calls, again.matrix) == (0, done.matrix)
        assert len(server.heard) == done.calls
        for wrong, said in (
            (Plan([triage], [f"{server.url}#m"], some, ("alpaca",)), "asked with messages"),
            (Plan([triage, triage], [f"{server.url}#m"], some), "two instructions"),
            (Plan([triage], [f"{server.url}#m"], some, against="triage"), "no instruction"),
            (Plan([triage], [f"{server.url}#m"], some, samples=2), "samples of greedy"),
        ):
            with pytest.raises(HeedError, match=said):
                run_matrix(wrong, Store())
    assert asked({"messages": [{"content": "x"}]}) == "x"


PROMPTFOO = """description: Capitals
prompts:
  - "What is the capital of {{country}}? One word."
  - {label: short, raw: "{{country}}: capital?"}
  - file://chat.json
  - file://prompt.py
providers:
  - openai:chat:gpt-x
  - {id: "openai:chat:local", config: {apiBaseUrl: "http://127.0.0.1:9/v1"}}
  - huggingface:text-generation:some/model
defaultTest:
  assert: [{type: word-count, value: {max: 3}}]
tests:
  - {vars: {country: [France, Italy]}, assert: [{type: icontains-any, value: [Paris, Rome]}], options: {}}
  - vars: {country: Spain}
    assert:
      - {type: equals, value: Madrid}
      - {type: llm-rubric, value: is polite}
evaluateOptions: {maxConcurrency: 2}
"""


def test_promptfoo_is_read_and_the_rest_is_told(tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text(
        '[{"role": "system", "content": "One word."}, {"role": "user", "content": "Capital of {{country}}"}]'
    )
    path = tmp_path / "promptfooconfig.yaml"
    path.write_text(PROMPTFOO)
    found = read_promptfoo(path)
    assert [one.name for one in found.instructions] == ["prompt-1", "short", "chat"]
    assert [one.role for one in found.instructions[2].blocks] == ["system", "user"]
    assert [one.fields["vars"]["country"] for one in found.cases] == ["France", "Italy", "Spain"]
    assert [len(one.fields["assert"]) for one in found.cases] == [2, 2, 2]
    assert found.models == ["http://127.0.0.1:9/v1#local", "some/model"]
    for said in (":6: ", ":14: ", "llm-rubric", "evaluateOptions", "gpt-x", "options"):
        assert any(said in note for note in found.notes), (said, found.notes)
    path.write_text("prompts: [3, 'file://gone.txt', '{{ a b }}']\n")
    with pytest.raises(HeedError) as caught:
        read_promptfoo(path)
    assert len(caught.value.problems) == 3
