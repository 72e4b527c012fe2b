"""Pages in a browser: what a reader sees and does, with replies that try to break out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from heedlm.eval.arms import BASE, INSTRUCT, bare, instruct
from heedlm.eval.around import Around, around
from heedlm.eval.conduct import conduct, lengths, reference_lengths
from heedlm.eval.curves import Curve, curves_from, smoothed, thinned
from heedlm.eval.evaluate import Arm, evaluate
from heedlm.eval.grid import WITH, grid_of
from heedlm.eval.html import to_html
from heedlm.eval.html_cases import MOST_BYTES, MOST_CASES, chosen_cases
from heedlm.eval.html_pairs import merged, pairs_page
from heedlm.eval.html_parts import cut, name, plain, text
from heedlm.eval.pairs import PairsReport, against_first, ask_all, scores_of
from heedlm.eval.pairs_report import pairs_json, pairs_markdown
from heedlm.eval.report import to_json, to_markdown, write_report
from heedlm.eval.results import Answer, Case, Decision, EvalReport, Figure, Judgement, Noise
from heedlm.eval.suites.measure import measure, of_cases
from heedlm.eval.suites.suite import ITEM, VARIANT, SuiteTask
from heedlm.eval.task import tasks_from
from heedlm.messages import Example, Message, Reply, Request, Sampling, ToolCall
from heedlm.runs import Run, write_json

from .scripted import ScriptedChat, example
from .test_pairs import contender
from .test_pairs import tasks as pair_tasks

UGLY = [
    '<script>window.broken = 1</script><img src=x onerror="window.broken = 1">',
    "</article></main></body></html>",
    "</style><style>* { display: none }</style>",
    "\u202egnp.exe\u202c and \u2066isolated\u2069",
    "null \x00 bell \x07 escape \x1b[31m delete \x7f next \x85",
    "👩‍👩‍👧‍👦 🇮🇳 दिल्ली भारत की राजधानी है। עברית العربية",
    "half \ud83d a character",
    "long " * 20_000,
    "onelongword" * 3_000,
    "& &amp; &lt; ' \" `",
    "",
]


def _ugly_report() -> EvalReport:
    rows = [
        example(f"Question {n}? {word[:500]}", f"Answer {n}.", id=f"id {n} {word[:80]}", task=f"task {word[:60]}")
        for n, word in enumerate(UGLY)
    ]

    def says(request: Request) -> str:
        text = request.text if request.text is not None else request.messages[-1].content
        number = int(text.split("Question ")[1].split("?")[0])
        return UGLY[number] if number % 3 else f"Answer {number}."

    tasks = tasks_from(rows)
    found = evaluate(
        tasks, [Arm(BASE, ScriptedChat(says), bare), Arm(INSTRUCT, ScriptedChat(says), instruct)], Sampling()
    )
    return replace(
        found,
        about={f"key {n}": word for n, word in enumerate(UGLY)} | {"command": UGLY[0], "run": UGLY[1]},
        models={INSTRUCT: UGLY[2]},
        caveats=(UGLY[3],),
        decision=Decision("ship", tuple(Figure(word, word, word, "unsure", word) for word in UGLY)),
        judged=tuple(Judgement(word, word, 3, 0.5, 0.1, 0.9, 0.5, (word,)) for word in UGLY),
    )


class _Tags(HTMLParser):
    """Opened elements, closed in order, and what they load."""

    VOID = frozenset(("meta", "input"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        for key, value in attrs:
            assert not key.startswith("on"), f"{key} runs code from an attribute"
            if key in ("src", "href", "xlink:href", "action", "srcset", "data"):
                self.links.append(value or "")
            if key == "id":
                self.ids.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def parsed(html: str) -> _Tags:
    """The page, held to be whole and to need nothing but itself."""
    page = _Tags()
    page.feed(html)
    page.close()
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.counts["script"] == page.counts["style"] == 1
    for outside in ("http://", "https://", "@import", "url("):
        assert outside not in html
    assert "default-src 'none'" in html
    html.encode("utf8")  # halves of characters could not be written
    return page


def test_whatever_a_model_says_stays_text(tmp_path: Path) -> None:
    report = _ugly_report()
    told = Around(commands={"train": UGLY[0]}, hashes={UGLY[1]: UGLY[2]}, training={UGLY[0]: UGLY[1]})
    report = replace(report, around=told)
    html = to_html(report)
    page = parsed(html)
    assert page.counts["article"] == len(report.cases)
    assert "\x00" not in html
    assert "\u202e" not in html
    assert "‹U+202E›gnp.exe" in html
    assert "null ␀ bell ␇ escape ␛[31m delete ␡" in html
    assert "दिल्ली" in html
    files = write_report(report, tmp_path)  # no file takes halves of characters
    assert json.loads(files[0].read_text("utf8"))["judged"][6]["what"] == "half \ufffd a character"
    assert "half \ufffd a character" in files[1].read_text("utf8")
    assert "\x00" not in files[1].read_text("utf8")


@pytest.mark.parametrize(
    ("given", "shown"), [("a<b", "a&lt;b"), ("\r\n", "\n"), ("\r", "␍"), ("\u200f", "\u200f"), ("\ufdd0", "\ufffd")]
)
def test_text_is_made_safe_and_seen(given: str, shown: str) -> None:
    assert text(given) == shown


def test_names_and_long_texts_are_cut_and_say_so() -> None:
    assert name("a\n b") == "a b"
    assert len(name("x" * 1000)) == 200
    assert cut("x" * 10, 10) == "x" * 10
    assert cut("<" * 11, 10) == "&lt;" * 10 + "<small> … 1 more characters</small>"
    assert plain("tab\tline\n") == "tab\tline\n"


def _case(number: int, outcome: str = "win", size: int = 10, turns: int = 1, arms: int = 2) -> Case:
    says = "<é" * (size // 2)
    names = [BASE, INSTRUCT, *(f"arm{n}" for n in range(arms - 2))]
    answers = {arm: Answer(says, float(arm != BASE), "why", "stop", says) for arm in names}
    messages = tuple(Message("user" if n % 2 == 0 else "assistant", says) for n in range(turns))
    return Case(f"c{number}", f"t{number % 7}", "k", messages, says, answers, outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "turns", "arms"), [(10, 1, 2), (100_000, 1, 4), (3_000, 200, 2), (2_000, 1, 40)])
def test_a_page_stays_small_however_long_the_texts_are(size: int, turns: int, arms: int) -> None:
    cases = tuple(_case(n, size=size, turns=turns, arms=arms) for n in range(MOST_CASES + 1))
    report = replace(_small(), cases=cases, arms=tuple(cases[0].answers))
    report = replace(report, tasks=())
    html = to_html(report)
    assert len(html.encode()) < MOST_BYTES + 500_000
    shown = html.count("<article")
    assert 50 < shown <= MOST_CASES
    assert f"{shown:,} of 301 items" in html
    if turns > 12:
        assert f"{turns - 12} more turns" in html


def _small() -> EvalReport:
    rows = [example(f"Question {n}?", "yes", id=str(n)) for n in range(4)]
    chats = [ScriptedChat(lambda request: "no"), ScriptedChat(lambda request: "yes")]
    return evaluate(tasks_from(rows), [Arm(BASE, chats[0], bare), Arm(INSTRUCT, chats[1], instruct)], Sampling())


def test_rare_outcomes_are_shown_whole() -> None:
    cases = [_case(n, "win") for n in range(2000)] + [_case(n, "loss") for n in range(2000, 2040)]
    shown = chosen_cases(cases)
    assert len(shown) == MOST_CASES
    assert sum(case.outcome == "loss" for case in shown) == 40
    assert {case.task for case in shown if case.outcome == "win"} == {f"t{n}" for n in range(7)}
    assert chosen_cases(cases[:1]) == cases[:1]
    assert chosen_cases([]) == []


def _forms() -> tuple[list[SuiteTask], EvalReport]:
    """Four items in three layouts; the tuned model fails on one layout."""
    rows = [
        replace(
            example(f"{layout}: {n}?", "yes", id=f"{n}/format={layout}", task="laid out"),
            meta={**example("", "yes").meta, "task": "laid out", ITEM: str(n), VARIANT: {"format": layout}},
        )
        for n in range(4)
        for layout in ("bare", "label", "json")
    ]
    tasks = tasks_from(rows)
    tuned = ScriptedChat(lambda request: "no" if "json" in request.messages[-1].content else "yes")
    base = ScriptedChat(lambda request: Reply("no, no", stop_reason="length"))
    report = evaluate(tasks, [Arm(BASE, base, bare), Arm(INSTRUCT, tuned, instruct)], Sampling())
    suites = [SuiteTask(task) for task in tasks]
    return suites, replace(report, suites=tuple(measure(suites, of_cases(report.cases))))


def test_formats_are_drawn_and_flips_are_found() -> None:
    _, report = _forms()
    assert {case.form["format"] for case in report.cases} == {"bare", "label", "json"}
    html = to_html(report)
    parsed(html)
    assert "One question, several layouts" in html
    assert html.count("flip-1") == 12 + 1  # every form of every item of the tuned model, and the choice
    assert "flip-0" not in html  # the base is wrong in every form
    assert "All forms of this item: base, bare right in 0 of 3; instruct right in 2 of 3." in html


def test_how_replies_end_is_counted() -> None:
    _, report = _forms()
    found = conduct(report.cases)
    base, tuned = found[BASE], found[INSTRUCT]
    assert (base.n, base.ended, base.cut, base.failed, base.empty) == (12, 0, 12, 0, 0)
    assert (tuned.ended, tuned.cut) == (12, 0)
    assert base.lengths is not None
    assert base.lengths.median == 2
    failed = [replace(case, answers={BASE: Answer("", 0, "down", "error", "", error="down")}) for case in report.cases]
    assert conduct(failed)[BASE].lengths is None
    assert conduct(failed)[BASE].failed == 12
    assert conduct([]) == {}
    assert reference_lengths([]) is None
    told = lengths(["one"] * 19 + ["two words"])
    assert told is not None
    assert (told.median, told.p95) == (1, 2)


def test_a_long_table_is_folded_in_a_pull_request() -> None:
    report = _small()
    (task,) = report.tasks
    many = replace(report, tasks=tuple(replace(task, name=f"a|b {n}") for n in range(31)))
    assert "<details>" not in to_markdown(replace(many, tasks=many.tasks[:30]))
    said = to_markdown(many)
    assert "<details><summary>31 rows</summary>" in said
    assert "| a\\|b 30 | 4 |" in said


def test_a_verdict_begins_with_what_is_not_reached() -> None:
    figures = [Figure("stop rate", "98 %", "99 %", "reached"), Figure("gain", "+10", "+2", "unsure", "ask 900 more")]
    figures.append(Figure("honest", "80 %", "50 %", "missed"))
    html = to_html(replace(_small(), decision=Decision("do not ship", tuple(figures))))
    parsed(html)
    section = html.split('<section id="verdict"')[1].split("</section>")[0]
    assert (
        section.index(">honest<")
        < section.index("ask 900 more")
        < section.index("<details>")
        < section.index(">stop rate<")
    )
    assert "1 of 3 figures are reached for sure" in section
    assert '<a class="badge wrong" href="#verdict">✗ do not ship</a>' in html
    ship = to_html(replace(_small(), decision=Decision("ship", (figures[0],))))
    assert "1 of 1 figures are reached for sure" in ship
    assert '<a class="badge right" href="#verdict">✓ ship</a>' in ship


def test_a_judge_stands_apart() -> None:
    opinion = Judgement("tuned preferred to base", "a judge", 50, 0.7, 0.56, 0.81, 0.5, ("Both orders agree in 90 %.",))
    report = _small()
    before, after = to_html(report), to_html(replace(report, judged=(opinion,)))
    assert 'id="judged"' not in before
    assert "No judge: every score comes from checks" in before
    section = after.split('id="judged"')[1].split("</section>")[0]
    assert "tuned preferred to base" in section
    assert "Both orders agree in 90 %." in section
    assert after.count("tuned preferred to base") == 1
    assert "Every other score comes from checks" in after
    lines = to_markdown(replace(report, judged=(opinion,)))
    assert "**Judged by a model, not checked:**" in lines
    assert json.loads(json.dumps(to_json(replace(report, judged=(opinion,)))))["judged"][0]["share"] == 0.7


def test_what_a_run_folder_tells(tmp_path: Path) -> None:
    run = Run.create(tmp_path)
    assert around(run) == Around()
    write_json(run.root / "run.json", {"train": {"command": "heed train"}, "train_result": {"steps": 7, "tokens": 900}})
    split = {"file": "x", "rows": 3, "groups": 2, "lengths": {"prompt_words": {"median": 4}}}
    source = {"kept": 3, "licences": {"cc0": 3}, "languages": {"Hindi": 3}}
    card: dict[str, Any] = {"rows_in": 5, "kept": 3, "splits": {"train": split}, "sources": {"a.jsonl": source}}
    card |= {"dropped": {"duplicate": {"count": 2}}, "notes": ["n"], "files": {"train": {"name": "t", "blake2": "ab"}}}
    card |= {"proof": {"groups_on_two_sides": 0, "prompts_on_two_sides": 1}}
    write_json(run.data / "card.json", card)
    run.recipe.write_text("seed: 1\n")
    found = around(run)
    assert found.data is not None
    assert found.data.apart is False
    assert found.data.splits["train"] == (3, 2, 4.0, 0.0)
    assert found.data.sources["a.jsonl"] == (3, "cc0", "Hindi 3")
    assert found.commands == {"train": "heed train"}
    assert (found.training["steps"], found.tokens) == ("7", 900)
    assert set(found.hashes) == {"data/t", "recipe.yaml"}
    html = to_html(replace(_small(), around=found))
    parsed(html)
    for said in ("heed train", "2 duplicate", "NOT APART", "Hindi 3", found.hashes["recipe.yaml"]):
        assert said in html
    assert json.loads(json.dumps(to_json(replace(_small(), around=found))))["around"]["tokens"] == 900


@pytest.mark.parametrize(
    "card", ["[]", "{", '{"rows_in": 1}', '{"rows_in": 1, "kept": 1, "splits": [], "sources": {}}', '{"files": [1]}']
)
def test_a_card_that_cannot_be_read_costs_only_itself(tmp_path: Path, card: str) -> None:
    run = Run.create(tmp_path)
    run.data.mkdir()
    (run.data / "card.json").write_text(card)
    found = around(run)
    assert found.data is None
    parsed(to_html(replace(_small(), around=found)))


def test_scores_on_the_way_are_curves_of_their_own() -> None:
    rows: list[dict[str, object]] = [{"step": n, "kind": "train", "loss": 2 / n} for n in range(1, 101)]
    rows += [{"step": n, "kind": "score", "score": n / 100, "tasks": {"a_b": n / 100, "c": 0.5}} for n in (50, 100)]
    rows += [{"step": 100, "kind": "score", "failed": "no memory"}, {"step": 100, "score": float("nan"), "tasks": None}]
    found = curves_from(rows)
    assert [curve.name for curve in found] == ["training", "task score", "a b", "c"]
    assert [curve.share for curve in found] == [False, True, True, True]
    html = to_html(_small(), found)
    parsed(html)
    assert "Scores on the way" in html
    assert "nan" not in html.split('id="training"')[1].split("</section>")[0]


def test_curves_are_thinned_and_smoothed_without_inventing() -> None:
    points = [(float(n), float(n % 2)) for n in range(1000)]
    thin = thinned(points, 100)
    assert len(thin) == 100
    assert (thin[0][0], thin[-1][0]) == (0.0, 999.0)
    assert all(value == 0.5 for _, value in thin)
    assert thinned(points[:5], 100) == points[:5]
    assert smoothed([(0.0, 4.0), (1.0, 2.0), (2.0, 0.0)], 1) == [(0.0, 4.0), (1.0, 2.0), (2.0, 1.0)]
    assert smoothed([(0.0, 4.0)], 0) == [(0.0, 4.0)]


def _pairs(*shares: float) -> PairsReport:
    contenders = [contender(f"m{place}<b>", share) for place, share in enumerate(shares)]
    items = ask_all(pair_tasks(), contenders, Sampling(), lambda arm: {})
    names = [one.name for one in contenders]
    pairs, _ = against_first(pair_tasks(), items, names)
    noise = Noise(80, 3, -0.001, -0.02, 0.02)
    return PairsReport(
        tuple(names), dict.fromkeys(names, "messages"), pairs, noise=noise, about={"command": "heed eval"}
    )


def test_several_models_have_a_page_too() -> None:
    report = _pairs(0.3, 0.6, 0.1)
    cases = merged(report)
    assert len(cases) == 80
    assert all(list(case.answers) == list(report.models) for case in cases)
    assert {case.outcome for case in cases} == {"win", "loss", "both right", "neither"}
    html = pairs_page(report)
    page = parsed(html)
    assert page.counts["article"] == 80
    assert "All 80 items." in html
    assert "win: m1&lt;b&gt; better than m0&lt;b&gt; (24 in all)" in html
    assert "loss: m2&lt;b&gt; worse than m0&lt;b&gt; (16 in all)" in html
    assert "Asked twice, 3 of 80 items scored otherwise." in html
    assert "−0 " not in html
    assert set(pairs_json(report)["replies"]) == set(report.models)
    assert "m1<b> against m0<b>" in pairs_markdown(report)


@pytest.mark.parametrize("models", [2, 3, 9])
def test_any_number_of_models_can_be_drawn(models: int) -> None:
    parsed(pairs_page(_pairs(*(n / 10 for n in range(models)))))


def test_a_grid_has_its_four_cells() -> None:
    shares = {"base": 0.1, "base" + WITH: 0.3, "tuned": 0.8, "tuned" + WITH: 0.8}
    contenders = [contender(name, share) for name, share in shares.items()]
    items = ask_all(pair_tasks(), contenders, Sampling(), lambda arm: {})
    pairs, _ = against_first(pair_tasks(), items, list(shares))
    scores, groups = scores_of(pair_tasks(), items)
    grid = grid_of("base", "tuned", scores, groups)
    html = pairs_page(PairsReport(tuple(shares), dict.fromkeys(shares, "messages"), pairs, grid=grid))
    parsed(html)
    cells = html.split("Mean scores")[1].split("</table>")[0]
    assert [share for share in ("10 %", "30 %", "80 %") if f">{share}<" in cells] == ["10 %", "30 %", "80 %"]
    assert "flip: base right one way, wrong another" in html
    assert grid.advice.split(":")[0] in html


def test_tools_and_reasons_are_shown() -> None:
    turn = Message("assistant", "", tool_calls=(ToolCall("weather", {"city": "<Rome>"}),))
    row = Example(
        "a", (Message("user", "Rain?"), turn, Message("tool", "yes"), Message("assistant", "It rains.")), "r:1"
    )
    chats = [ScriptedChat(lambda request: "it"), ScriptedChat(lambda request: "It rains.")]
    report = evaluate(tasks_from([row]), [Arm(BASE, chats[0], bare), Arm(INSTRUCT, chats[1], instruct)], Sampling())
    html = to_html(report)
    assert "weather {&quot;city&quot;: &quot;&lt;Rome&gt;&quot;}" in html
    assert "0.67" in html  # a share of words is neither right nor wrong


Open = Callable[[str], Any]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a page; its problems (errors, requests to anywhere) are kept in `page.problems`."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")

        def open_(html: str) -> Any:
            path = tmp_path / "page.html"
            path.write_text(html, "utf8")
            page = browser.new_page(viewport={"width": 1000, "height": 800})
            page.problems = []
            page.on("console", lambda said: page.problems.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: page.problems.append(str(error)))
            page.on("request", lambda asked: page.problems.append(asked.url) if asked.url != path.as_uri() else None)
            page.goto(path.as_uri())
            return page

        yield open_
        browser.close()


VISIBLE = "article:not([hidden])"


@pytest.mark.browser
def test_ugly_replies_in_a_browser(opened: Open) -> None:
    page = opened(to_html(_ugly_report()))
    assert page.evaluate("window.broken") is None
    assert page.locator("img").count() == 0
    assert page.locator(VISIBLE).count() == len(UGLY)
    for width in (1000, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "दिल्ली" in page.locator("main").inner_text()
    assert page.problems == []


@pytest.mark.browser
def test_no_script_but_ours_runs(opened: Open) -> None:
    html = to_html(_small()).replace(
        "</main>", "<script>window.broken = 1</script><img src=x onerror='window.broken = 1'></main>"
    )
    page = opened(html)
    assert page.evaluate("window.broken") is None
    assert page.locator("#count").inner_text() == "4 shown of 4 here"
    assert any("Content Security Policy" in problem for problem in page.problems)


@pytest.mark.browser
def test_several_models_in_a_browser(opened: Open) -> None:
    page = opened(pairs_page(_pairs(0.3, 0.6, 0.1)))
    count = page.locator("#count")
    assert count.inner_text() == "20 shown of 80 here"
    page.locator("#outcome").select_option("win-0")
    assert count.inner_text() == "20 shown of 24 here"
    page.locator("#arm").select_option("right-2")
    assert count.inner_text() == "none here fits"
    page.locator("#clear").click()
    assert count.inner_text() == "20 shown of 80 here"
    page.locator("#find").fill("QUESTION 11?")
    assert page.locator(VISIBLE).count() == 1
    page.keyboard.press("Escape")
    assert count.inner_text() == "20 shown of 80 here"
    page.locator("#find").blur()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"
    page.locator("a[data-filter=b]").first.click()
    assert count.inner_text() == "20 shown of 40 here"
    assert page.locator("#task").input_value() == "b"
    page.locator("#more").focus()
    page.keyboard.press("Enter")
    assert page.locator(VISIBLE).count() == 40
    assert page.evaluate("document.activeElement.tagName") == "ARTICLE"
    assert page.problems == []


@pytest.mark.browser
def test_a_page_is_light_dark_narrow_and_on_paper(opened: Open) -> None:
    _, report = _forms()
    page = opened(to_html(report, [Curve("training", tuple((float(n), 2.0 / n) for n in range(1, 200)))]))
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(colour)
    assert dark != light
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    for gone in ("#filters", "nav", "details"):
        assert not page.locator(gone).first.is_visible()
    assert page.locator("article").first.is_visible()
    page.emulate_media(color_scheme="light", media="screen")
    for width in (1200, 700, 360, 320):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
        lanes = page.evaluate(
            "[...document.querySelectorAll('svg.lane')].map((one) => one.getBoundingClientRect().height)"
        )
        assert lanes
        assert all(14 <= height <= 60 for height in lanes), width
        drawn = page.evaluate("document.querySelector('.chart svg').getBoundingClientRect().width")
        assert drawn > 0.6 * width if width < 900 else drawn > 700
    assert page.problems == []


@pytest.mark.browser
def test_axes_are_as_wide_as_their_lanes(opened: Open) -> None:
    _, report = _forms()
    page = opened(to_html(report, [Curve("training", ((1.0, 2.0), (9.0, 1.0)))]))
    widths = """[...document.querySelectorAll('.plot')].map((plot) => [plot.getAttribute('aria-label'),
        ...['.ticks', '.lane'].map((part) => plot.querySelector(part)?.getBoundingClientRect())
           .map((box) => box ? [Math.round(box.left), Math.round(box.right)].join() : '')])"""
    for width in (1000, 360):
        page.set_viewport_size({"width": width, "height": 700})
        found = [(name, axis, lane) for name, axis, lane in page.evaluate(widths) if axis]
        assert len(found) == 4
        assert all(axis == lane for _, axis, lane in found), found
