from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from heedlm.eval.arms import (
    BASE,
    BASE_FAIR,
    FRAMES,
    INSTRUCT,
    WRONG_FORMAT,
    FewShot,
    bare,
    fair,
    instruct,
    wrong_format,
)
from heedlm.eval.curves import Curve, curves_from, loss_plot
from heedlm.eval.evaluate import Arm, evaluate
from heedlm.eval.gate import gate, verdicts
from heedlm.eval.gate_file import Gate
from heedlm.eval.html import MOST_CASES, chosen_cases, to_html
from heedlm.eval.report import to_json, to_markdown, to_terminal, write_report
from heedlm.eval.results import EvalReport, Forgetting, Seconds
from heedlm.eval.task import tasks_from
from heedlm.eval.verdict import decide
from heedlm.eval.words import headline, legend, percent, second_line
from heedlm.messages import Example, Message, Reply, Request, Sampling

from .scripted import ScriptedChat, example

NASTY = '<script>alert("1")</script> & </style> \x00 "quoted" दिल्ली'


def _rows() -> list[Example]:
    facts = [
        example(f"Question {n}?", f"Answer {n}.", id=f"f{n}", group=f"g{n}", task="facts_capital") for n in range(220)
    ]
    guides = [
        example(f"Question {n}? {NASTY}", f"Answer {n}.", id=f"g{n}", task="guide", kind="guide") for n in range(70)
    ]
    invented = [
        example(f"Question {n}?", f"Answer {n}.", id=f"u{n}", task="unknown_country", unknown=True) for n in range(70)
    ]
    hard = [
        example(f"Question {n}?", f"Answer {n}.", id=f"h{n}", task="format_fact", kind="format", gated=False)
        for n in range(10)
    ]
    return [*facts, *guides, *invented, *hard]


def _number(request: Request) -> int:
    text = request.text if request.text is not None else request.messages[-1].content
    return int(text.split("Question ")[-1].split("?")[0])


def _says(right: float, ends: bool = True) -> ScriptedChat:
    """Right on that share of the items; ends by itself or not."""

    def answer(request: Request) -> Reply:
        number = _number(request)
        text = f"Answer {number}." if number % 100 < 100 * right else f"What else? {NASTY}"
        return Reply(text, stop_reason="stop" if ends else "length")

    return ScriptedChat(answer)


@pytest.fixture(scope="module")
def report() -> EvalReport:
    tasks = tasks_from(_rows())
    few = {task.name: FewShot(FRAMES[0], ()) for task in tasks}
    found = evaluate(
        tasks,
        [
            Arm(BASE, _says(0.02, ends=False), bare),
            Arm(BASE_FAIR, _says(0.3), fair(few)),
            Arm(INSTRUCT, _says(0.95), instruct),
            Arm(WRONG_FORMAT, _says(0.5), wrong_format(lambda turns: turns[-1].content), most=20),
        ],
        Sampling(),
    )
    return replace(
        found,
        bits_per_byte=Forgetting(1.0, 1.05, 2.0, 2.1),
        seconds=Seconds(1.0, 100.0, 60.0, 161.0),
        peak_memory_bytes=1_500_000_000,
        about={"command": f"heed demo {NASTY}", "seed": "1"},
    )


def test_the_json_has_the_promised_fields(report: EvalReport) -> None:
    found = json.loads(json.dumps(to_json(report)))
    assert found["version"] == 1
    promised = {
        "name",
        "kind",
        "n",
        "metric",
        "gated",
        "base",
        "base_fair",
        "instruct",
        "difference",
        "low",
        "high",
        "p",
    }
    for task in found["tasks"]:
        assert promised <= set(task)
        assert task["difference"] == pytest.approx(task["instruct"] - task["base"], abs=1e-5)
        assert task["low"] <= task["difference"] <= task["high"]
        assert sum(task["base_behaviour"].values()) == task["n"]
    assert set(found["unknown"]) == {"recall", "false_refusal", "n_real", "n_invented"}
    assert {"base", "instruct"} <= set(found["stop_rate"])
    assert set(found["bits_per_byte"]) == {"before", "after", "other_before", "other_after"}
    assert set(found["seconds"]) == {"prepare", "train", "eval", "total"}
    assert isinstance(found["peak_memory_bytes"], int)
    assert (found["unknown"]["n_real"], found["unknown"]["n_invented"]) == (220, 70)


def test_the_headline_says_it_in_plain_numbers(report: EvalReport) -> None:
    assert headline(report) == "Before tuning the model followed 12 of 370 instructions; after tuning 360 of 370."
    assert second_line(report).startswith("With solved examples in front, the untuned model reached 150 of 370.")
    facts = replace(report, tasks=report.tasks[:1])
    assert headline(facts) == "Before tuning the model answered 6 of 220 questions; after tuning 210 of 220."


def test_the_headline_of_texts_speaks_of_agreement() -> None:
    row = Example("a", (Message("user", "Question 1?"), Message("assistant", "Answer 1.")), "rows.jsonl:1")
    found = evaluate(tasks_from([row]), [Arm(BASE, _says(0), bare), Arm(INSTRUCT, _says(1), instruct)], Sampling())
    assert headline(found).endswith("the reference by 0 % of their words; after tuning by 100 % (on 1 item).")
    assert "No sure difference on held out." in second_line(found)


def test_a_good_model_passes_the_gate(report: EvalReport) -> None:
    assert gate(report) == []
    assert len(verdicts(report)) == 1 + 4 + 3 + 3 + 2 + 1 + 1


def test_every_figure_of_the_gate_can_fail(report: EvalReport) -> None:
    assert report.unknown is not None
    facts, guide, *rest = report.tasks
    weak = replace(guide, arms={**guide.arms, INSTRUCT: replace(guide.arms[INSTRUCT], score=0.79)})
    knew = replace(facts, arms={**facts.arms, BASE: replace(facts.arms[BASE], score=0.051)})
    unsure = replace(facts, arms={**facts.arms, INSTRUCT: replace(facts.arms[INSTRUCT], score=0.89)})
    spoilt = {
        "guide: instruct": replace(report, tasks=(facts, weak, *rest)),
        "guide: items": replace(report, tasks=(facts, replace(guide, n=59), *rest)),
        "guide: gain": replace(report, tasks=(facts, replace(guide, low=0.0), *rest)),
        "facts_capital: base, bare": replace(report, tasks=(knew, guide, *rest)),
        "facts_capital: instruct": replace(report, tasks=(unsure, guide, *rest)),
        "facts: items in all": replace(report, tasks=(replace(facts, n=199), guide, *rest)),
        "invented names": replace(report, unknown=replace(report.unknown, recall=0.89)),
        "real names": replace(report, unknown=replace(report.unknown, false_refusal=0.031)),
        "replies that end": replace(report, stop_rate={**report.stop_rate, INSTRUCT: 0.98}),
        "bits per byte": replace(report, bits_per_byte=Forgetting(1.0, 1.11, 1.0, 1.0)),
    }
    for what, bad in spoilt.items():
        failures = gate(bad)
        assert len(failures) == 1, what
        assert str(failures[0]).startswith(what)


def test_what_was_not_measured_does_not_pass(report: EvalReport) -> None:
    other = tuple(task for task in report.tasks if task.gated and task.kind != "facts")[:1]
    blind = replace(report, unknown=None, bits_per_byte=None, tasks=other)
    found = [verdict.found for verdict in gate(blind)]
    assert found[0] == "0"
    assert found[-2:] == ["not measured", "not measured"]
    assert gate(replace(blind, tasks=())) == []  # a run of one's own has no gate
    nan = replace(report, bits_per_byte=Forgetting(1.0, float("nan"), 1.0, 1.0))
    assert len(gate(nan)) == 1


class _Page(HTMLParser):
    """Tags, links, ids and the text outside of style and script."""

    VOID = frozenset(("meta", "input"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.counts: dict[str, int] = {}
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            assert not name.startswith("on"), f"{name} runs code from an attribute"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)


def _parse(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    page.close()
    assert page.open == [], "every tag is closed"
    return page


def test_the_page_needs_nothing_but_itself(report: EvalReport) -> None:
    html = to_html(report, [Curve("training", ((1, 2.0), (2, 1.0)))])
    page = _parse(html)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert "url(" not in html
    assert page.counts["script"] == 1, "nothing a model said became code"
    assert len(page.ids) == len(set(page.ids))
    assert page.counts["svg"] > 4 * len(report.tasks)  # four plots have a lane for each task
    assert page.counts["article"] == MOST_CASES
    text = " ".join(page.words)
    assert headline(report) in text
    assert '<script>alert("1")</script>' in text
    assert "दिल्ली" in text
    assert "\x00" not in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_a_page_of_parts_not_measured_is_still_a_page(report: EvalReport) -> None:
    page = _parse(to_html(replace(report, unknown=None, bits_per_byte=None, cases=(), seconds=Seconds(), about={})))
    assert "article" not in page.counts
    _parse(to_html(replace(report, tasks=(), cases=())))


def test_every_task_and_outcome_has_its_cases_on_the_page(report: EvalReport) -> None:
    chosen = chosen_cases(report.cases, 30)
    assert len(chosen) == 30
    assert {(case.task, case.outcome) for case in chosen} == {(case.task, case.outcome) for case in report.cases}
    assert chosen_cases(report.cases, 10_000) != []
    assert len(chosen_cases(report.cases, 10_000)) == len(report.cases)
    assert chosen_cases([]) == []


def test_markdown_has_a_row_for_each_task(report: EvalReport) -> None:
    text = to_markdown(report)
    assert text.startswith(f"**{headline(report)}**\n")
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.count(" | ") for line in table[:5]} == {10}
    for task in ("facts capital", "guide", "unknown country", "format fact (not gated)"):
        assert sum(line.startswith(f"| {task} |") for line in table) == 1
    assert "all 2 min 41 s" in text
    assert f"Gate: {len(verdicts(report))} of {len(verdicts(report))} figures reached." in text


def test_markdown_says_what_its_words_mean(report: EvalReport) -> None:
    text = to_markdown(report)
    for name, meaning in legend(report):
        assert f"- *{name}*: {meaning}." in text


def test_only_what_is_mixed_is_marked(report: EvalReport) -> None:
    none = replace(report, tasks=tuple(replace(task, gated=False) for task in report.tasks))
    assert "not gated" in to_markdown(report)
    assert "not gated" in to_html(report)
    assert "not gated" not in to_markdown(none)
    assert "not gated" not in to_html(none)
    assert "not gated" not in dict(legend(none))
    assert len(legend(replace(report, tasks=()))) == len(report.arms)


def _shown(report: EvalReport, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(to_terminal(report, width))
    return out.getvalue().splitlines()


def test_the_terminal_table_has_p_values_and_a_legend(report: EvalReport) -> None:
    lines = _shown(report, 100)
    heads = next(line.split() for line in lines if line.split()[:1] == ["task"])
    assert heads == ["task", "n", "show", "bare", "fair", "instruct", "format", "gain", "interval", "p"]
    row = next(line for line in lines if line.strip().startswith("facts"))
    assert " 220   13 " in row
    assert "+93 89 to 95 <0.001 better" in row
    assert any(line.strip().startswith(("format fact *", "* ")) or line.strip() == "*" for line in lines)
    text = " ".join(" ".join(lines).split())
    for name, meaning in legend(report):
        assert f"{name.removeprefix('instruct, ')} {meaning}" in text


def test_eighty_columns_leave_p_to_the_last_word(report: EvalReport) -> None:
    lines = _shown(report, 80)
    heads = next(line.split() for line in lines if line.split()[:1] == ["task"])
    assert heads[-2:] == ["gain", "interval"]
    row = next(line for line in lines if line.strip().startswith("facts"))
    assert row.strip().endswith("+93 89 to 95 better")
    assert "better the gain is not luck: p under" in " ".join(" ".join(lines).split())


def test_a_difference_that_may_be_luck_is_called_unsure(report: EvalReport) -> None:
    maybe = replace(report, tasks=(replace(report.tasks[0], p=0.05, p_holm=0.05),))
    worse = replace(
        report, tasks=(replace(report.tasks[0], difference=-0.5, low=-0.9, high=-0.1, p=0.001, p_holm=0.001),)
    )
    assert any(line.strip().endswith("0.050 unsure") for line in _shown(maybe, 100))
    assert any(line.strip().endswith("worse") for line in _shown(worse, 80))


def test_a_narrow_terminal_leaves_interval_and_p_to_the_file(report: EvalReport) -> None:
    lines = _shown(report, 60)
    row = next(line for line in lines if line.strip().startswith("facts"))
    assert row.split()[-2:] == ["+93", "better"]
    assert "report.md" in " ".join(lines)


@pytest.mark.parametrize("width", [60, 72, 80, 160])
def test_the_terminal_begins_with_the_headline(report: EvalReport, width: int) -> None:
    lines = _shown(report, width)
    assert headline(report) in " ".join(line.strip() for line in lines[:3])
    assert any("guide" in line and "better" in line for line in lines)
    assert max(map(len, lines)) <= width


def test_the_three_files_are_written_whole(report: EvalReport, tmp_path: Path) -> None:
    paths = write_report(report, tmp_path / "run")
    assert [path.name for path in paths] == ["report.json", "report.md", "report.html"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["report.html", "report.json", "report.md"]
    assert json.loads(paths[0].read_text("utf8")) == json.loads(json.dumps(to_json(report)))


def test_curves_come_from_the_lines_that_hold_them() -> None:
    rows = [
        {"step": 1, "kind": "train", "loss": 2.0},
        {"step": 2, "kind": "train", "loss": float("nan")},
        {"step": 2, "kind": "validation", "val_loss": 1.5},
        {"loss": 3.0},
        {"step": 3, "kind": "train", "loss": 1.0},
    ]
    assert curves_from(rows) == [Curve("training", ((1, 2.0), (3, 1.0))), Curve("validation", ((2, 1.5),))]
    assert curves_from([]) == []


@pytest.mark.parametrize("points", [((5, 1.0),), ((0, 0.0), (1, 0.0)), tuple((n, n % 7) for n in range(5000))])
def test_any_curve_can_be_drawn(points: tuple[tuple[float, float], ...]) -> None:
    svg = loss_plot([Curve("training", points), Curve("validation", points[:1])])
    assert "nan" not in svg
    assert len(svg) < 40_000


def test_shares_are_rounded_honestly() -> None:
    assert [percent(share) for share in (0, 0.0001, 0.004, 0.5, 0.9951, 0.99999, 1)] == [
        "0 %",
        "0.1 %",
        "0.4 %",
        "50 %",
        "99.5 %",
        "99.9 %",
        "100 %",
    ]


def _chromium() -> str | None:
    import shutil

    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def opened(report: EvalReport, tmp_path: Path) -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api")
    path = write_report(report, tmp_path, [Curve("training", ((1, 2.0), (9, 1.0)))])[2]
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.problems = []
        page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.problems.append(request.url) if "file:" not in request.url else None)
        page.goto(path.as_uri())
        yield page
        browser.close()


@pytest.mark.browser
def test_the_page_works_in_a_browser(opened) -> None:  # type: ignore[no-untyped-def]
    page = opened
    visible = "article:not([hidden])"
    assert page.locator("h1").inner_text().startswith("Before tuning")
    assert page.locator(visible).count() == 20
    page.locator("#more").click()
    assert page.locator(visible).count() == 80
    page.locator("#task").select_option("guide")
    page.locator("#outcome").select_option("win-0")
    shown = page.locator(visible)
    assert shown.count() > 0
    assert {shown.nth(n).get_attribute("data-task") for n in range(shown.count())} == {"guide"}
    page.locator("#find").fill("no such words anywhere")
    assert page.locator(visible).count() == 0
    assert page.locator("#count").inner_text() == "none here fits"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert page.problems == []


def test_what_must_not_be_missed_stands_in_the_headline_everywhere(report: EvalReport) -> None:
    leaky = replace(report, caveats=("LEAK: 3 of 370 items were in the training rows.",))
    for text in (headline(leaky), to_markdown(leaky), to_html(leaky), " ".join(_shown(leaky, 80))):
        assert "LEAK: 3 of 370 items" in " ".join(text.split())
    assert to_json(leaky)["headline"].startswith("LEAK")


def test_a_decision_is_shown_with_what_would_settle_it(report: EvalReport) -> None:
    gate = Gate.model_validate({"tasks": {"*": {"gain": 0.5}, "format_fact": {"score": 0.99}}, "stop_rate": 0.5})
    decided = replace(report, decision=decide(report, gate))
    shown = " ".join(" ".join(_shown(decided, 80)).split())
    assert "Gate: cannot tell (4 of 5 figures reached for sure)" in shown
    assert "format_fact: score" in shown
    assert "not even 10 of 10 would show it" in to_markdown(decided)
    page = to_html(decided)
    assert "Verdict: cannot tell" in page
    assert "not even 10 of 10 would show it" in page
    assert json.loads(json.dumps(to_json(decided)))["decision"]["call"] == "cannot tell"


def test_several_tasks_are_several_chances_to_be_fooled(report: EvalReport) -> None:
    found = to_json(report)["tasks"]
    assert all(task["p"] <= task["p_bh"] <= task["p_holm"] <= 1 for task in found)
    assert any(task["p"] < task["p_holm"] for task in found)


def test_items_without_an_answer_are_counted_aloud(report: EvalReport) -> None:
    task = report.tasks[0]
    arms = {**task.arms, INSTRUCT: replace(task.arms[INSTRUCT], errors=3)}
    said = to_markdown(replace(report, tasks=(replace(task, arms=arms),)))
    assert "without an answer or a score, counted as wrong: instruct: 3." in said


@pytest.mark.parametrize(
    ("after", "said"), [(1.1, ""), (1.1001, "10 %"), (1.56, "56 %"), (0.9, ""), (float("nan"), "")]
)
def test_much_forgetting_stands_in_the_headline_everywhere(report: EvalReport, after: float, said: str) -> None:
    found = replace(report, bits_per_byte=Forgetting(1.0, after, 1.0, 1.0))
    texts = [headline(found), to_markdown(found).splitlines()[0], to_json(found)["headline"], _html_heading(found)]
    texts.append(" ".join(line.strip() for line in _shown(found, 80)[:4]))
    for text in texts:
        assert ("FORGETTING" in text) == bool(said)
        assert not said or f"{said} more bits per byte than before tuning" in " ".join(str(text).split())
    assert ('<h1 class="caveat">' in to_html(found)) == bool(said)


def _html_heading(report: EvalReport) -> str:
    return to_html(report).partition("<h1")[2].partition("</h1>")[0]
