"""What a judge said, in a real browser: its own page, and its part of the report of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import heedlm
from heedlm.eval.arms import BASE, INSTRUCT, bare, instruct
from heedlm.eval.evaluate import Arm, evaluate
from heedlm.eval.html import to_html
from heedlm.eval.judge.report import judgements
from heedlm.eval.task import tasks_from
from heedlm.messages import Sampling
from heedlm.runs import write_text
from tests.eval.judge.logs import by_place, chat, evaluated, prefers
from tests.eval.scripted import ScriptedChat, example

pytestmark = pytest.mark.browser

Open = Callable[[Path], Any]
UGLY = '</pre></details><script>window.broken = 1</script><img src=x onerror="window.broken = 1">\u202e\x1b[31m\ud83d '


@pytest.fixture
def opened(browser: Any) -> Open:
    """Opens a page; errors, and requests to anywhere else, are kept in `page.problems`."""

    def open_(path: Path) -> Any:
        page = browser.new_page(viewport={"width": 1000, "height": 800})
        page.problems = []
        page.on("console", lambda said: page.problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda asked: page.problems.append(asked.url) if asked.url != path.as_uri() else None)
        page.goto(path.as_uri())
        return page

    return open_


def ugly(number: int) -> str:
    return f"{UGLY}Answer {number}."


def wrong(number: int) -> str:
    return f"No idea, {number}."


def by_word(one: str, two: str) -> str:
    return "1" if "Answer" in one else "2"


def test_the_judges_page_is_read_opened_and_loads_nothing(tmp_path: Path, opened: Open) -> None:
    place = evaluated(tmp_path, {"base": wrong, "instruct": ugly}, n=120)
    done = heedlm.judge(of=place, by=chat(prefers(by_word)))
    page = opened(done.files[2])
    said = page.locator("h1").inner_text()
    assert said.startswith(
        "Judged by judge, not verified: LENGTH: "
    )  # the judge goes by a word, and the longer one has it
    assert "Preferred: instruct; instruct wins 100 % of 120 items" in said
    assert "nothing of it verified" in page.locator(".eyebrow").inner_text().lower()
    cells = page.locator("table").first.locator("tbody tr").first.locator("th, td").all_inner_texts()
    assert cells[:6] == ["facts", "120", cells[2], "120", "0", "0"]
    assert "The first 100 of 120" in page.locator("main").inner_text()
    verdicts = page.locator("details")
    assert verdicts.count() == 100
    assert not verdicts.first.locator("pre").first.is_visible()
    verdicts.first.locator("summary").click()
    verdicts.first.locator("pre").first.wait_for(state="visible")
    inside = verdicts.first.inner_text()
    assert "<script>" in inside  # of a model, and text
    assert "‹U+202E›" in inside
    assert page.locator("main script, main img").count() == 0
    assert page.evaluate("window.broken") is None
    assert page.problems == []


def test_the_judges_page_warns_and_fits_every_screen(tmp_path: Path, opened: Open) -> None:
    """A judge that goes by place, on a phone, by night and on paper."""
    place = evaluated(tmp_path, {"base": wrong, "instruct": ugly})
    pairs = prefers(by_place)
    both = chat(lambda text: "<verdict>3</verdict>" if "POINTS" in text else pairs(text))
    page = opened(heedlm.judge(of=place, by=both, how="both").files[2])
    heading = page.locator("h1")
    assert "POSITION" in heading.inner_text()
    assert "caveat" in str(heading.get_attribute("class"))
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(colour) != light
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="light", media="screen")
    for width in (1200, 700, 360):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
    assert page.problems == []


def test_the_judge_stands_in_a_frame_of_its_own_in_the_report(tmp_path: Path, opened: Open) -> None:
    place = evaluated(tmp_path / "log", {"base": wrong, "instruct": ugly}, n=20)
    told = judgements(heedlm.judge(of=place, by=chat(prefers(by_word))).report)
    rows = [example(f"Question {n}?", f"Answer {n}.", id=str(n), task="facts") for n in range(20)]
    chats = [
        Arm(BASE, ScriptedChat(lambda request: "No."), bare),
        Arm(INSTRUCT, ScriptedChat(lambda r: UGLY), instruct),
    ]
    report = replace(evaluate(tasks_from(rows), chats, Sampling()), judged=told)
    path = tmp_path / "report.html"
    write_text(path, to_html(report))
    page = opened(path)
    part = page.locator("#judged")
    assert part.count() == 1
    assert "judged" in str(part.get_attribute("class"))
    said = part.inner_text()
    assert "No program has checked them" in said
    assert "instruct preferred to base" in said
    assert "100 %" in said
    page.locator('nav a[href="#judged"]').click()
    page.wait_for_function("location.hash === '#judged'")
    frame = "getComputedStyle(document.querySelector('#judged')).borderTopStyle"
    other = "getComputedStyle(document.querySelector('#gains')).borderTopStyle"
    assert page.evaluate(frame) != page.evaluate(other)  # nobody takes it for what was checked
    assert "preferred" not in page.locator("#gains").inner_text()
    assert page.problems == []
