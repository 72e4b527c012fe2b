"""The playground in a real browser, against a server whose models follow a script."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heedlm.config import Recipe
from heedlm.data.human import read_human
from heedlm.eval.suites.read import read_suite
from heedlm.recipe_file import load_recipe
from heedlm.serve.playground import Playground
from heedlm.serve.playground_desk import Desk
from tests.browser.scripted import Script, scripted

pytestmark = pytest.mark.browser
sync = pytest.importorskip("playwright.sync_api")
AUSTRALIA = "What is the capital of Australia?"


class Here:
    """One test's server, its files, and a page on it."""

    def __init__(self, browser: Any, folder: Path, shots: Path) -> None:
        self.browser, self.shots = browser, shots
        self.script = Script()
        self.desk = Desk(
            folder / "human.jsonl", folder / "cases.jsonl", folder / "votes.jsonl", folder / "next.yaml", model="atlas"
        )
        self.url = ""
        self.page: Any = None
        self.problems: list[str] = []

    def open(self, *, width: int = 1280, height: int = 800, scheme: str = "light", ready: bool = True) -> Any:
        context = self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(15_000)
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", self._asked)
        self.page.goto(f"{self.url}/ui/")
        if ready:
            self.page.wait_for_selector("body[data-ready]")
        return self.page

    def _heard(self, message: Any) -> None:
        # What the browser says of a status is what these tests ask for; a refused script or style is not.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "blob:")):
            self.problems.append(request.url)

    def shot(self, name: str) -> None:
        self.page.screenshot(path=self.shots / f"{name}.png")

    def ask(self, text: str = AUSTRALIA, cells: int = 2) -> None:
        self.page.fill("#question", text)
        self.page.keyboard.press("Enter")
        sync.expect(self.page.locator(".round").last.locator(".cell[data-status=done]")).to_have_count(cells)

    def cell(self, name: str) -> Any:
        return self.page.locator(".round").last.locator(".cell", has_text=name).first

    def asked(self, what: str) -> list[dict[str, Any]]:
        return [one for one in self.script.asked if one["path"].endswith(what)]


@pytest.fixture
def here(browser: Any, tmp_path: Path, shots: Path) -> Iterator[Here]:
    found = Here(browser, tmp_path, shots)
    with scripted(found.script, Playground(found.desk)) as found.url:
        yield found
        if found.page is not None:
            found.page.context.close()
    assert found.problems == []


def test_a_question_is_answered_side_by_side_in_a_stream(here: Here) -> None:
    page = here.open()
    here.shot("1_empty")
    assert page.locator(".examples button").count() == 6
    here.script.hold = 2
    page.fill("#question", AUSTRALIA)
    page.keyboard.press("Enter")
    sync.expect(page.locator(".cell").nth(1).locator(".answer")).to_have_text(re.compile("^The capital$"))
    assert page.locator(".cell").nth(1).get_attribute("data-status") == "streaming"
    here.script.gate.set()
    sync.expect(page.locator(".cell[data-status=done]")).to_have_count(2)
    # The base goes on with a text, the tuned model is asked in turns.
    assert page.locator(".cell").nth(0).locator(".answer").inner_text().startswith("What is the capital of Spain?")
    assert page.locator(".cell").nth(1).locator(".answer").inner_text() == "The capital of Australia is Sydney."
    assert [one["prompt"] for one in here.asked("/v1/completions")] == [AUSTRALIA]
    assert here.asked("/chat/completions")[0]["messages"] == [{"role": "user", "content": AUSTRALIA}]
    here.shot("2_answers")


def test_the_grid_is_models_by_formats_by_system_texts(here: Here) -> None:
    page = here.open()
    page.locator("#f-chatml").check()
    page.locator("#setup textarea").first.fill("Be terse.")
    page.get_by_role("button", name="Add another").click()
    page.locator("#setup textarea").nth(1).fill("Sing.")
    here.ask(cells=8)
    assert page.locator("#composer-note").inner_text() == "8 answers"
    turns = [
        (one["model"], one.get("template"), one["messages"][0]["content"]) for one in here.asked("/chat/completions")
    ]
    assert sorted(turns, key=str) == sorted(
        [
            *[("demo", None, text) for text in ("Be terse.", "Sing.")],
            *[(model, "chatml", text) for model in ("atlas", "demo") for text in ("Be terse.", "Sing.")],
        ],
        key=str,
    )
    # The cells ask at the same time: which of them is heard first is nobody's promise.
    assert {one["prompt"] for one in here.asked("/v1/completions")} == {
        f"Be terse.\n\n{AUSTRALIA}",
        f"Sing.\n\n{AUSTRALIA}",
    }
    assert len(here.asked("/v1/completions")) == 2
    here.shot("3_grid")


def test_sampling_is_sent_as_it_was_set_and_only_where_it_matters(here: Here) -> None:
    page = here.open()
    here.ask()
    assert {"temperature", "max_tokens"} <= here.script.asked[0].keys()
    assert not {"seed", "top_p", "top_k", "min_p", "stop"} & here.script.asked[0].keys()
    page.get_by_label("Temperature").fill("0.7")
    page.get_by_label("Temperature").press("Tab")
    for name, value in (("Top-p", "0.9"), ("Seed", "7"), ("Longest answer", "3")):
        page.get_by_label(name, exact=True).fill(value)
        page.get_by_label(name, exact=True).press("Tab")
    page.get_by_label("Stop at").fill("\\n\nEND")
    here.ask("Again, What is the capital of Australia?")
    sent = here.script.asked[-1]
    assert (sent["temperature"], sent["top_p"], sent["seed"], sent["max_tokens"]) == (0.7, 0.9, 7, 3)
    assert sent["stop"] == ["\n", "END"]
    assert page.locator(".round").last.locator(".facts .warn").count() == 2  # cut, and said
    page.get_by_label("Temperature").fill("9")
    page.get_by_label("Temperature").press("Tab")
    assert page.get_by_label("Temperature").get_attribute("aria-invalid") == "true"
    page.keyboard.press("Escape")


def test_tokens_show_their_probability_and_alternatives(here: Here) -> None:
    page = here.open()
    here.ask()
    cell = here.cell("demo")
    cell.get_by_role("button", name="Tokens").click()
    tokens = cell.locator(".tok[data-index]")
    assert tokens.all_inner_texts() == ["The", " capital", " of", " Australia", " is", " Sydney."]
    assert [tokens.nth(n).get_attribute("class") for n in range(5)] == [f"tok p{n}" for n in range(5)]
    tokens.nth(3).hover()
    tip = page.locator("#tip")
    sync.expect(tip).to_be_visible()
    assert "18.0 %" in tip.inner_text()
    assert "·otherwise" in tip.inner_text()
    here.shot("4_tokens")
    tokens.nth(0).focus()
    page.keyboard.press("ArrowRight")
    assert "70.0 %" in tip.inner_text()
    assert page.evaluate("document.activeElement.dataset.index") == "1"
    page.keyboard.press("Escape")
    sync.expect(tip).to_be_hidden()
    # The plain-text endpoint tells its probabilities in another way.
    base = here.cell("atlas")
    base.get_by_role("button", name="Tokens").click()
    assert base.locator(".tok[data-index]").count() == 12
    assert "Perplexity" in base.inner_text()


def test_what_the_model_saw_is_shown_by_origin_with_ids(here: Here) -> None:
    here.open()
    here.page.locator("#setup textarea").first.fill("Be terse.")
    here.ask()
    cell = here.cell("demo")
    cell.get_by_role("button", name="Prompt").click()
    seen = cell.locator(".seen")
    sync.expect(seen.locator(".o-system.seg").first).to_have_text("Be terse.")
    assert seen.locator("p .seg.o-user").first.inner_text() == AUSTRALIA
    seen.get_by_role("button", name="Ids").click()
    assert seen.locator(".id small").first.inner_text() == "100"
    here.shot("5_prompt")
    base = here.cell("atlas")
    base.get_by_role("button", name="Prompt").click()
    sync.expect(base.locator(".seen .seg.o-prompt").first).to_contain_text(AUSTRALIA)


def test_two_answers_are_compared_word_by_word(here: Here) -> None:
    page = here.open()
    here.script.says = lambda model, text: "Paris is big." if model == "demo" else "Paris is very big!"
    here.ask()
    here.cell("demo").get_by_role("button", name="Compare").click()
    assert page.locator("dialog ins").all_inner_texts() == ["very ", "!"]
    assert page.locator("dialog del").all_inner_texts() == ["."]
    assert "3 words in both, 0 only in the first, 1 only in the second." in page.locator("dialog").inner_text()
    here.shot("6_diff")
    page.get_by_label("Second").select_option(index=1)
    assert "the same, letter for letter" in page.locator("dialog").inner_text()


def _fix(here: Here, answer: str = "The capital of Australia is Canberra.") -> None:
    page = here.page
    here.cell("demo").get_by_role("button", name="Fix").click()
    page.get_by_label("It should have said").fill(answer)
    sync.expect(page.locator(".verdict")).to_have_text("✓ the old answer fails✓ the right answer passes")
    page.get_by_label("Your name").fill("Ann")


def test_a_mended_answer_becomes_a_row_a_case_and_a_recipe(here: Here) -> None:
    page = here.open()
    here.ask()
    _fix(here)
    assert page.get_by_label("value").input_value() == "Canberra"  # what the old answer lacks
    here.shot("7_fix")
    page.get_by_role("button", name="Keep as row and case").click()
    sync.expect(page.locator(".kept pre")).to_contain_text("heed train")
    here.shot("8_kept")
    rows, problems = read_human(here.desk.store)
    assert not problems
    assert [turn["content"] for turn in rows[0].row["messages"]] == [AUSTRALIA, "The capital of Australia is Canberra."]
    assert (rows[0].about.author, rows[0].corrects.text, rows[0].corrects.model) == (
        "Ann",
        "The capital of Australia is Sydney.",
        "demo",
    )
    task = read_suite(here.desk.keep_cases.with_suffix(".yaml")).tasks[0].task
    assert task.scorer(task.examples[0], "It is Canberra.").value == 1.0
    assert task.scorer(task.examples[0], "It is Sydney.").value == 0.0
    recipe = load_recipe(Recipe, here.desk.recipe)
    assert [one.path for one in recipe.data.sources] == [str(here.desk.store)]
    assert page.locator("#cases-count").inner_text() == "1"
    page.keyboard.press("Escape")
    sync.expect(here.cell("demo").get_by_role("button", name="Fixed")).to_be_visible()


def test_what_a_fix_lacks_is_said_and_nothing_is_lost(here: Here) -> None:
    page = here.open()
    here.ask()
    _fix(here)
    page.get_by_label("value").fill("Paris")
    sync.expect(page.locator(".verdict .bad")).to_contain_text("the right answer fails")
    page.get_by_role("button", name="Keep as row and case").click()
    sync.expect(page.locator("dialog .error")).to_contain_text("does not pass its own checks")
    assert page.get_by_label("It should have said").input_value() == "The capital of Australia is Canberra."
    assert not here.desk.store.exists()
    page.mouse.click(3, 3)  # beside the window: it stays
    assert page.locator("dialog").count() == 1


def test_cases_run_over_the_grid(here: Here) -> None:
    page = here.open()
    here.ask("What is the capital of France?")
    page.get_by_role("button", name="Save as case").click()
    page.get_by_label("value").fill("Paris")
    page.get_by_label("Your name").fill("Ann")
    page.get_by_role("button", name="Save the case").click()
    sync.expect(page.locator("#cases-count")).to_have_text("1")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Cases").click()
    page.get_by_role("button", name="Run all").click()
    sync.expect(page.locator("tfoot b")).to_have_text(["0 of 1", "1 of 1"])  # the base; the tuned one
    page.get_by_role("button", name=re.compile("^failed")).click()
    assert "'Paris' not in" in page.locator("dialog").inner_text()
    page.keyboard.press("Escape")
    here.shot("9_cases")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    sync.expect(page.locator("tfoot b")).to_have_text(["0 of 1", "1 of 1"])
    page.get_by_role("button", name=re.compile("^Take the case")).click()
    page.get_by_role("button", name="Take it away").click()
    sync.expect(page.locator(".empty-note")).to_be_visible()
    assert here.desk.keep_cases.read_text() == ""


def test_votes_and_notes_are_kept_and_counted(here: Here) -> None:
    page = here.open()
    here.ask()
    here.cell("demo").get_by_role("button", name="Good").click()
    sync.expect(here.cell("demo").get_by_role("button", name="Good")).to_have_attribute("aria-pressed", "true")
    here.cell("atlas").get_by_role("button", name="Bad").click()
    here.cell("demo").get_by_role("button", name="Write a note").click()
    page.get_by_label("Note", exact=True).fill("Wrong city.")
    page.get_by_role("button", name="Keep").click()
    sync.expect(here.cell("demo").get_by_role("button", name="Note: Wrong city.")).to_be_visible()
    page.get_by_role("tab", name="Votes").click()
    sync.expect(page.locator("#view-votes tbody tr")).to_have_count(2)
    assert page.locator("#view-votes tbody tr").first.inner_text().startswith("demo")
    assert "Wrong city." in page.locator("#view-votes").inner_text()
    here.shot("10_votes")
    assert [json.loads(line)["vote"] for line in here.desk.keep_votes.read_text().splitlines()] == [1, -1, 1]


def test_everything_is_exported(here: Here, tmp_path: Path) -> None:
    page = here.open()
    here.script.says = lambda model, text: "```\n# not a heading of ours\n```"
    here.ask("A | b\n# c")
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as json_file:
        page.click("#export-json")
    with page.expect_download() as text_file:
        page.click("#export-md")
    found = json.loads(Path(json_file.value.path()).read_text())
    answer = found["rounds"][0]["answers"][0]
    assert found["heed_playground"] == 1
    assert (answer["model"], answer["text"]) == ("atlas", "```\n# not a heading of ours\n```")
    assert len(answer["tokens"]) == len(answer["tokens"][0]["alternatives"]) + 6
    text = Path(text_file.value.path()).read_text()
    assert "````text\n```\n# not a heading of ours\n```\n````" in text
    assert next(line for line in text.splitlines() if line.startswith("# ")) == "# heed playground"


def test_reload_keeps_everything(here: Here) -> None:
    page = here.open()
    page.locator("#setup textarea").first.fill("Be terse.")
    page.get_by_role("button", name=re.compile("^Colours")).click()
    here.ask()
    here.cell("demo").get_by_role("button", name="Tokens").click()
    page.fill("#question", "half a quest")
    before = page.locator(".round").inner_text()
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.locator(".round").inner_text() == before
    assert page.locator("#setup textarea").first.input_value() == "Be terse."
    assert page.input_value("#question") == "half a quest"
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert len(here.script.asked) == 2  # nothing is asked again


def test_whatever_stands_in_the_browser_s_store_the_page_opens(here: Here) -> None:
    page = here.open()
    here.ask()
    good = page.evaluate("() => { dispatchEvent(new Event('pagehide')); return localStorage['heed.playground.1']; }")
    kept = json.loads(good)
    cell = next(iter(kept["rounds"][0]["cells"].values()))
    del cell["tokens"]
    odd = [{}, {"user": 1}, None, {**kept["rounds"][0], "cells": {}}, {**kept["rounds"][0], "systems": [None]}]
    for value, rounds in (
        ("{", 0),
        ("[]", 0),
        (json.dumps({"rounds": "x", "sampling": [], "models": {}, "theme": 5}), 0),
        (json.dumps({**kept, "rounds": [*odd, *kept["rounds"]]}), 1),
    ):
        other = page.context.new_page()
        other.add_init_script(f"localStorage['heed.playground.1'] = {json.dumps(value)}")
        other.goto(f"{here.url}/ui/")
        other.wait_for_selector("body[data-ready]")
        assert other.locator(".round").count() == rounds
        assert other.locator("#send").is_enabled()
        other.close()


def test_a_conversation_goes_on_in_every_cell_with_its_own_answers(here: Here) -> None:
    page = here.open()
    here.ask()
    page.get_by_label("Conversation").check()
    here.ask("Are you sure?")
    said = [turn["content"] for turn in here.asked("/chat/completions")[-1]["messages"]]
    assert said == [AUSTRALIA, "The capital of Australia is Sydney.", "Are you sure?"]
    page.get_by_label("Conversation").uncheck()
    here.ask("Something else")
    assert len(here.asked("/chat/completions")[-1]["messages"]) == 1


def test_reasoning_and_calls_are_shown_apart_from_the_answer(here: Here) -> None:
    page = here.open()
    here.script.thought = "It is a trap: most say Sydney."
    here.script.calls = ({"index": 0, "function": {"name": "look_up", "arguments": '{"q": "capital"}'}},)
    here.ask()
    cell = here.cell("demo")
    assert cell.locator(".answer > p").first.inner_text() == "The capital of Australia is Sydney."
    assert cell.locator(".calls").inner_text() == 'look_up({"q": "capital"})'
    cell.get_by_text("Reasoning").click()
    assert cell.locator(".thought p").inner_text() == here.script.thought
    assert page.locator(".cell", has_text="atlas").locator(".thought, .calls").count() == 0


def test_many_cells_take_turns_and_leave_a_connection_free(here: Here) -> None:
    page = here.open()
    for number in range(3):
        page.get_by_role("button", name="Add another").click()
        page.locator("#setup textarea").nth(number + 1).fill(f"Text {number}")
    here.script.hold = 1
    page.fill("#question", AUSTRALIA)
    page.keyboard.press("Enter")
    sync.expect(page.locator(".cell[data-status=streaming]")).to_have_count(5)
    assert page.locator(".cell[data-status=waiting]").count() == 3
    page.locator(".cell[data-status=waiting]").last.get_by_role("button", name="Stop").click()
    sync.expect(page.locator(".cell[data-status=stopped]")).to_have_count(1)
    page.get_by_role("tab", name="Votes").click()  # answered, although five answers are on their way
    sync.expect(page.locator("#view-votes h2")).to_be_visible()
    page.get_by_role("tab", name="Answers").click()
    here.script.gate.set()
    sync.expect(page.locator(".cell[data-status=done]")).to_have_count(7)
    assert len(here.script.asked) == 7


def test_every_control_has_a_name(here: Here) -> None:
    page = here.open()
    page.get_by_role("button", name="Add another").click()
    here.ask(cells=4)
    here.cell("demo").get_by_role("button", name="Tokens").click()
    here.cell("demo").get_by_role("button", name="Fix").click()
    page.get_by_label("It should have said").fill("Canberra")
    page.get_by_role("button", name="Add a check").click()
    nameless = """() => [...document.querySelectorAll("button, input, select, textarea, [role=button], [tabindex='0']")]
        .filter((node) => !(node.getAttribute("aria-label") || node.labels?.length || node.textContent.trim() || node.title))
        .map((node) => node.outerHTML.slice(0, 120))"""
    assert page.evaluate(nameless) == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))


def test_a_full_queue_is_waited_for(here: Here) -> None:
    here.open()
    here.script.busy = 2
    here.page.fill("#question", AUSTRALIA)
    here.page.keyboard.press("Enter")
    sync.expect(here.page.locator(".wait").first).to_contain_text("The server is full; again in 1 s")
    here.shot("11_full")
    sync.expect(here.page.locator(".cell[data-status=done]")).to_have_count(2)
    assert len(here.script.asked) == 4


def test_a_server_that_is_gone_is_said_and_found_again(browser: Any, tmp_path: Path, shots: Path) -> None:
    here = Here(browser, tmp_path, shots)
    with scripted(here.script, Playground(here.desk)) as here.url:
        page = here.open()
        here.ask()
    port = int(here.url.rpartition(":")[2])
    page.fill("#question", "Still there?")
    page.keyboard.press("Enter")
    sync.expect(page.locator("#banner")).to_contain_text("The server does not answer.")
    sync.expect(page.locator(".cell .error").first).to_contain_text("The server does not answer.")
    here.shot("12_gone")
    with scripted(here.script, Playground(here.desk), port):
        sync.expect(page.locator("#banner")).to_be_hidden()
        page.get_by_role("button", name="Try again").first.click()
        sync.expect(page.locator(".round").last.locator(".cell[data-status=done]")).to_have_count(1)
    page.context.close()
    assert here.problems == []


def test_an_answer_can_be_stopped(here: Here) -> None:
    page = here.open()
    here.script.pause, here.script.says = 0.05, lambda model, text: "word " * 100
    page.fill("#question", AUSTRALIA)
    page.keyboard.press("Enter")
    sync.expect(page.locator(".cell[data-status=streaming]")).to_have_count(2)
    page.keyboard.press("Escape")
    sync.expect(page.locator(".cell[data-status=stopped]")).to_have_count(2)
    assert "word" in page.locator(".cell").first.inner_text()
    for _ in range(40):
        if here.script.left == 2:
            break
        page.wait_for_timeout(100)
    assert here.script.left == 2  # the server is told, and can stop decoding


def test_what_models_and_people_write_is_never_markup(here: Here) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    here.script.says = lambda model, text: evil
    page = here.open()
    page.locator("#setup textarea").first.fill(evil)
    here.ask(evil)
    cell = here.cell("demo")
    cell.get_by_role("button", name="Tokens").click()
    cell.get_by_role("button", name="Prompt").click()
    cell.locator(".tok[data-index]").first.hover()
    cell.get_by_role("button", name="Compare").click()
    page.keyboard.press("Escape")
    cell.get_by_role("button", name="Fix").click()
    page.keyboard.press("Escape")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.title() == "heed playground"
    assert page.locator("main img, main script, dialog img").count() == 0
    assert here.cell("demo").locator(".answer").inner_text().startswith("<img src=x")
    # And if a way were found: the browser refuses inline script.
    refused = page.evaluate(
        "() => { try { document.body.innerHTML += '<b>x</b>'; return 'allowed' } catch (e) { return e.name } }"
    )
    assert refused == "TypeError"
    here.problems.clear()  # that refusal is said on the console


def test_a_server_with_a_key_asks_for_it(browser: Any, tmp_path: Path, shots: Path) -> None:
    here = Here(browser, tmp_path, shots)
    here.script.key = "sesame"
    with scripted(here.script, Playground(here.desk, key_needed=True)) as here.url:
        page = here.open()
        sync.expect(page.get_by_label("Key", exact=True)).to_be_focused()
        here.shot("13_key")
        page.get_by_label("Key", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        sync.expect(page.locator("dialog")).to_contain_text("was not taken")
        page.get_by_label("Key", exact=True).fill("sesame")
        page.keyboard.press("Enter")
        sync.expect(page.locator(".examples button").first).to_be_enabled()
        here.ask()
        assert "sesame" not in page.evaluate("JSON.stringify(localStorage)")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator(".cell[data-status=done]").count() == 2
        page.context.close()
    assert here.problems == []


def test_the_keyboard_is_enough(here: Here) -> None:
    page = here.open()
    press = page.keyboard.press
    press("/")
    page.keyboard.type(AUSTRALIA)
    press("Enter")
    sync.expect(page.locator(".cell[data-status=done]")).to_have_count(2)
    page.locator("#question").evaluate("node => node.blur()")
    for _ in range(60):  # to the first answer, by Tab alone
        press("Tab")
        if page.evaluate("document.activeElement.className") == "cell":
            break
    press("ArrowRight")
    assert "demo" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    press("t")
    assert here.cell("demo").locator(".tok[data-index]").count() == 6
    press("+")
    sync.expect(here.cell("demo").get_by_role("button", name="Good")).to_have_attribute("aria-pressed", "true")
    press("f")
    page.keyboard.type("The capital of Australia is Canberra.")
    sync.expect(page.locator(".verdict")).to_contain_text("the old answer fails")
    for _ in range(20):
        press("Tab")
        if page.evaluate("document.activeElement.id") == "fix-author":
            break
    page.keyboard.type("Ann")
    press("Enter")
    sync.expect(page.locator(".kept pre")).to_contain_text("heed train")
    press("Escape")
    sync.expect(page.locator("dialog")).to_have_count(0)
    press("2")
    assert page.locator("#view-cases").is_visible()
    press("?")
    assert page.locator("dialog kbd").count() > 8


def test_narrow_and_dark(here: Here) -> None:
    page = here.open(width=360, height=740, scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    here.ask()
    here.cell("demo").get_by_role("button", name="Tokens").click()
    here.cell("demo").get_by_role("button", name="Prompt").click()
    here.shot("14_narrow_dark")
    page.get_by_role("button", name="Setup").click()
    assert page.locator("#setup").is_visible()
    here.shot("15_narrow_setup")
    page.get_by_role("button", name="Done").click()
    for view in ("Cases", "Votes", "Answers"):
        page.get_by_role("tab", name=view).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    here.cell("demo").get_by_role("button", name="Fix").click()
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= 360")
    here.shot("16_narrow_fix")
    page.keyboard.press("Escape")
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    page.get_by_role("button", name=re.compile("^Colours")).click()
    page.get_by_role("button", name=re.compile("^Colours")).click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_text_can_be_read_in_both_colours(here: Here) -> None:
    page = here.open()
    here.ask()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for choose in (
            ".answer",
            ".facts",
            ".cell header .quiet",
            "#composer-note",
            ".cell footer .small",
            ".badge",
            "button.main",
        ):
            assert _contrast(page, choose) >= 4.5, (scheme, choose)


def _contrast(page: Any, choose: str) -> float:
    """Between the text of the first such element and what lies behind it, as WCAG counts."""
    return float(
        page.locator(choose).first.evaluate(
            """node => {
              const read = (text) => text.match(/[0-9.]+/g).map(Number);
              const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
              let behind = node;
              const colour = read(getComputedStyle(node).color);
              let back = read(getComputedStyle(behind).backgroundColor);
              while (back.length === 4 && back[3] === 0 && behind.parentElement) { behind = behind.parentElement; back = read(getComputedStyle(behind).backgroundColor); }
              const [a, b] = [light(colour), light(back)].sort((x, y) => y - x);
              return (a + 0.05) / (b + 0.05);
            }"""
        )
    )
