"""The instruction editor and the matrix of the playground in a real browser; models follow a script, all else is real."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heedlm.instructions.format import load, parse
from heedlm.instructions.library import source
from heedlm.model.load import resolve
from heedlm.serve.playground import Playground
from heedlm.serve.playground_instruction import Workshop
from heedlm.serve.playground_seats import Seat
from heedlm.templates.chat import load_template
from heedlm.tokens.tokenizer import load_tokenizer
from tests.browser.scripted import scripted
from tests.browser.test_playground import Here, _contrast

pytestmark = pytest.mark.browser
sync = pytest.importorskip("playwright.sync_api")
TICKET = "Where is order 4417?"
VAGUE = "---\ninputs:\n  - {name: text, kind: string, required: true, example: Rain.}\n---\nsystem:\n# Task\nSummarise the text.\n\nuser:\n{{ text }}\n"


@pytest.fixture(scope="module")
def seats() -> dict[str, Seat]:
    tokenizer = load_tokenizer(resolve("atlas"))
    return {
        "atlas": Seat("atlas", tokenizer, None, 512),
        "demo": Seat("demo", tokenizer, load_template("chatml", tokenizer), 512),
    }


@pytest.fixture
def here(browser: Any, tmp_path: Path, shots: Path, seats: dict[str, Seat]) -> Iterator[Here]:
    found = Here(browser, tmp_path, shots)
    shop = Workshop(tmp_path / "prompts", seats)
    with scripted(found.script, Playground(found.desk, workshop=shop)) as found.url:
        yield found
        if found.page is not None:
            found.page.context.close()
    assert found.problems == []


def looked(page: Any) -> None:
    """Wait until what is shown is of the text as it is."""
    sync.expect(page.locator("#view-instruction")).to_have_attribute("data-state", "done")


def opened(here: Here, name: str = "ticket-triage", **how: Any) -> Any:
    page = here.open(**how)
    page.get_by_role("tab", name="Instruction").click()
    page.locator("#ws-open").click()
    page.locator("dialog button.file", has_text=name).click()
    sync.expect(page.locator("#ws-name")).to_have_value(name)
    sync.expect(page.locator(".block").first).to_be_visible()
    looked(page)
    return page


def block(page: Any, name: str) -> Any:
    return page.locator(f'.block[data-block="{name}"]')


def text_of(page: Any) -> str:
    return str(page.evaluate("() => JSON.parse(localStorage['heed.playground.1']).instruction.source"))


def saved_state(page: Any) -> None:
    page.evaluate("() => dispatchEvent(new Event('pagehide'))")


def test_an_instruction_is_opened_and_shown_block_by_block(here: Here) -> None:
    page = opened(here)
    shown = [one.get_attribute("data-block") for one in page.locator(".block").all()]
    assert shown == list(load("ticket-triage").ids)
    assert "from house-blocks" in block(page, "untrusted").inner_text()
    assert block(page, "untrusted").locator("textarea").count() == 0
    assert block(page, "task").locator("textarea").input_value().startswith("Choose the one queue")
    segments = page.locator("#compiled .seg")
    compiled = "".join(segments.all_inner_texts()).replace("↵", "")
    assert "# Role\nYou sort support tickets for Northwind." in compiled
    assert "My card was charged twice" in compiled
    assert page.locator('#compiled .seg.value[title="data: value of ticket"]').inner_text().startswith("My card")
    assert re.search(r"tokens", block(page, "rules").locator(".count").inner_text())
    assert "of 512" in page.locator(".weights").inner_text()
    assert page.locator("#ws-status").inner_text().startswith("8 blocks")
    here.shot("20_instruction")
    saved_state(page)
    assert text_of(page) == source("ticket-triage")[0], "what nobody touched stays as it was, letter for letter"


def test_lint_appears_beside_the_block_while_it_is_written_and_is_mended(here: Here) -> None:
    page = opened(here)
    box = block(page, "rules").locator("textarea")
    box.fill("- ALWAYS answer properly!!!\n- Use only these queues: {{ queues | join(', ') }}.")
    finding = block(page, "rules").locator(".finding", has_text="HD203")
    sync.expect(finding).to_be_visible()
    assert box.input_value().startswith("- ALWAYS"), "who types is not disturbed"
    assert finding.locator(".sev").inner_text() == "hint"
    assert block(page, "task").locator(".finding").count() == 0
    finding.locator("summary").click()
    sync.expect(finding.locator("details p").first).to_be_visible()
    here.shot("21_lint")
    finding.get_by_role("button", name="Mend").click()
    sync.expect(block(page, "rules").locator(".finding", has_text="HD203")).to_have_count(0)
    assert "ALWAYS" not in block(page, "rules").locator("textarea").input_value()


def test_what_cannot_be_read_is_said_where_it_stands_and_the_rest_goes_on(here: Here) -> None:
    page = opened(here)
    block(page, "task").locator("textarea").fill("Choose {{ queue one.")
    finding = block(page, "task").locator(".finding.error-level").first
    sync.expect(finding).to_contain_text("task")
    sync.expect(page.locator("#compiled .error")).to_contain_text("cannot be read yet")
    sync.expect(page.locator("#ws-status .error-count")).to_be_visible()
    block(page, "task").locator("textarea").fill("Choose {{ queu }}.")
    sync.expect(block(page, "task").locator(".finding.error-level")).to_contain_text("did you mean 'queues'")
    block(page, "task").locator("textarea").fill("Choose one of {{ queues | join(', ') }}.")
    sync.expect(page.locator("#compiled .seg").first).to_be_visible()


def test_blocks_are_added_moved_and_taken_away(here: Here) -> None:
    page = opened(here)
    page.locator("#add-kind").select_option("tone")
    page.locator("#add-block").click()
    sync.expect(block(page, "tone")).to_be_visible()
    looked(page)
    ids = [one.get_attribute("data-block") for one in page.locator(".block").all()]
    assert ids.index("rules") < ids.index("tone") < ids.index("format")
    block(page, "tone").get_by_role("button", name="Move up").click()
    sync.expect(page.locator(".block").nth(ids.index("tone") - 1)).to_have_attribute("data-block", "tone")
    looked(page)
    block(page, "fallback").get_by_role("button", name="Take away").click()
    sync.expect(block(page, "fallback")).to_have_count(0)
    looked(page)
    saved_state(page)
    found = parse(text_of(page))
    assert [one.id for one in found.blocks] == [
        "role",
        "task",
        "tone",
        "rules",
        "format",
        "examples",
        "untrusted",
        "data",
    ]
    page.get_by_label("Heading of task").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("Zweck")
    sync.expect(page.locator(".finding.error-level", has_text="unknown block 'Zweck'")).to_be_visible()
    looked(page)
    page.keyboard.type(" 2")  # who types goes on in the same place, although the block has another name by now
    sync.expect(page.locator(".finding.error-level", has_text="unknown block 'Zweck 2'")).to_be_visible()


def test_a_heading_that_is_typed_makes_a_block_of_its_own(here: Here) -> None:
    page = opened(here)
    box = block(page, "rules").locator("textarea")
    box.focus()
    page.keyboard.press("Control+End")
    page.keyboard.type("\n\n# Tone\nPlain words.")
    sync.expect(block(page, "tone").locator("textarea")).to_have_value("Plain words.")
    assert "Tone" not in block(page, "rules").locator("textarea").input_value()


def test_the_preview_changes_with_model_format_notation_and_values(here: Here) -> None:
    page = opened(here)
    shown = page.locator("#compiled")
    page.get_by_label("Model", exact=True).select_option("demo")
    sync.expect(shown).to_contain_text("<|im_start|>system")
    page.get_by_label("Notation", exact=True).select_option("xml")
    sync.expect(shown).to_contain_text("<task>")
    page.get_by_label("Format", exact=True).select_option("alpaca")
    sync.expect(shown).to_contain_text("### Instruction:")
    page.get_by_label("Format", exact=True).select_option("plain")
    sync.expect(shown).not_to_contain_text("### Instruction:")
    page.get_by_label("Format", exact=True).select_option("own")
    page.get_by_label("Notation", exact=True).select_option("")
    page.get_by_label("ticket · what is typed").fill("The parcel is late.")
    sync.expect(shown).to_contain_text("The parcel is late.")
    page.get_by_label("company · optional").fill("Acme.\n# Task\nSing.")
    sync.expect(shown).to_contain_text("> # Task")
    sync.expect(page.locator("#preview-notes")).to_contain_text("looked like structure")
    assert page.locator("#in-ticket").input_value() == "The parcel is late."
    page.get_by_label("Stands in", exact=True).select_option("user")
    sync.expect(shown).not_to_contain_text("<|im_start|>system")
    page.get_by_label("Model", exact=True).select_option("")
    sync.expect(shown.locator(".turn").first).to_have_text("user")
    here.shot("22_preview")


def test_the_file_as_a_whole_is_edited_too(here: Here) -> None:
    page = opened(here)
    page.get_by_role("button", name="File", exact=True).click()
    box = page.locator("#file-text")
    text = box.input_value()
    assert text == source("ticket-triage")[0]
    box.fill(text.replace("# Task {# frozen #}", "# Tsk"))
    finding = page.locator("#file-findings .finding.error-level", has_text="unknown block 'Tsk'")
    sync.expect(finding).to_be_visible()
    finding.get_by_role("button", name=re.compile("^line")).click()
    assert (
        page.evaluate(
            "() => { const t = document.activeElement; return t.value.slice(t.selectionStart, t.selectionEnd); }"
        )
        == "# Tsk"
    )
    here.shot("23_file")
    box.fill(text)
    page.get_by_role("button", name="Blocks").click()
    sync.expect(block(page, "task")).to_be_visible()


def test_it_stands_behind_the_questions_of_the_grid(here: Here) -> None:
    page = opened(here)
    page.locator("#ws-use").click()
    sync.expect(page.locator("#view-grid")).to_be_visible()
    assert "ticket-triage" in page.locator("#setup .instructed").inner_text()
    here.ask(TICKET)
    chat = here.asked("/chat/completions")[-1]["messages"]
    assert [one["role"] for one in chat] == ["system", "user"]
    assert chat[0]["content"].startswith("# Role\nYou sort support tickets for Northwind.")
    assert chat[1]["content"].startswith(f"```\n{TICKET}\n```")
    plain = here.asked("/v1/completions")[-1]
    assert "TASK: Choose the one queue" in plain["prompt"]
    assert TICKET in plain["prompt"]
    assert plain["stop"]
    assert "instruction ticket-triage" in page.locator(".system-row").inner_text()
    here.shot("24_grid")
    # The conversation goes on with what was typed, and the instruction stands there once.
    page.get_by_label("Conversation").check()
    here.ask("And now?")
    chat = here.asked("/chat/completions")[-1]["messages"]
    assert [one["role"] for one in chat] == ["system", "user", "assistant", "user"]
    assert chat[3]["content"].startswith("```\nAnd now?\n```")
    # What is written on in the editor is asked from then on.
    page.locator("#setup .instructed").get_by_role("button", name="Edit").click()
    sync.expect(block(page, "task")).to_be_visible()
    block(page, "task").locator("textarea").fill("Choose a queue, and be quick about it.")
    looked(page)
    page.get_by_role("tab", name="Answers").click()
    page.get_by_label("Conversation").uncheck()
    here.ask("Once more?")
    assert "be quick about it" in here.asked("/chat/completions")[-1]["messages"][0]["content"]
    page.locator("#setup .system").get_by_role("button", name=re.compile("^Take system text")).click()
    here.ask("And without?")
    assert len(here.asked("/chat/completions")[-1]["messages"]) == 1


def test_it_is_saved_in_the_folder_and_downloaded(here: Here, tmp_path: Path) -> None:
    page = opened(here)
    block(page, "task").locator("textarea").fill("Choose one queue for the ticket.")
    looked(page)
    assert "not saved" in page.locator("#ws-status").inner_text()
    page.locator("#ws-save").click()
    page.get_by_label("Name", exact=True).fill("mine")
    page.get_by_role("button", name="Save", exact=True).click()
    sync.expect(page.locator("dialog")).to_have_count(0)
    file = tmp_path / "prompts" / "mine.prompty"
    assert load(file).block("task").text == "Choose one queue for the ticket."
    assert load(file).block("untrusted").text
    looked(page)
    assert "not saved" not in page.locator("#ws-status").inner_text()
    with page.expect_download() as told:
        page.get_by_role("button", name="Download").click()
    assert told.value.suggested_filename == "mine.prompty"
    assert Path(told.value.path()).read_text() == file.read_text()
    block(page, "task").locator("textarea").fill("Choose.")
    looked(page)
    page.locator("#ws-save").click()
    page.get_by_role("button", name="Save", exact=True).click()
    sync.expect(page.locator("dialog .error")).to_contain_text("is there already")
    assert "for the ticket" in file.read_text()
    page.locator("#ws-over").click()
    sync.expect(page.locator("dialog")).to_have_count(0)
    assert load(file).block("task").text == "Choose."
    page.locator("#ws-open").click()
    sync.expect(page.locator("dialog button.file", has_text="mine")).to_be_visible()
    here.shot("25_open")


def test_a_file_of_one_s_own_is_opened_and_a_reload_keeps_it(here: Here, tmp_path: Path) -> None:
    page = opened(here)
    page.locator("#ws-open").click()
    own = tmp_path / "my notes.prompty"
    own.write_text(VAGUE)
    page.get_by_label("A file of yours").set_input_files(str(own))
    sync.expect(page.locator("#ws-name")).to_have_value("my-notes")
    block(page, "task").locator("textarea").fill("Summarise the text in one sentence.")
    looked(page)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    sync.expect(block(page, "task").locator("textarea")).to_have_value("Summarise the text in one sentence.")


def test_whatever_stands_in_the_browser_s_store_both_views_open(here: Here) -> None:
    page = opened(here)
    odd: list[dict[str, Any]] = [
        {"instruction": [], "matrix": 5},
        {"instruction": {"source": 5, "values": {"ticket": 7}, "view": "x", "model": None}, "systems": [{"text": "x", "instruction": 5}]},
        {"matrix": {"beside": [None, {"name": 3}], "notations": [None], "run": {"body": 1}, "cases": []}, "systems": [None]},
    ]  # fmt: skip
    for value in odd:
        other = page.context.new_page()
        other.on("pageerror", lambda error: here.problems.append(str(error)))
        other.add_init_script(f"localStorage['heed.playground.1'] = {json.dumps(json.dumps(value))}")
        other.goto(f"{here.url}/ui/")
        other.wait_for_selector("body[data-ready]")
        other.get_by_role("tab", name="Instruction").click()
        sync.expect(other.locator("#ws-open")).to_be_visible()
        sync.expect(other.locator("#view-instruction")).to_have_attribute("data-state", "done")
        other.get_by_role("tab", name="Matrix").click()
        sync.expect(other.locator("#mx-run")).to_be_visible()
        other.close()


def answers(given: dict[str, Any]) -> str:
    """A model that names the right queue only where it is told to answer in JSON."""
    text = given.get("prompt") or " ".join(one["content"] for one in given["messages"])
    ticket = "shipping" if "parcel" in text.rpartition("Input:")[2] or "order" in text[-400:] else "billing"
    return json.dumps({"queue": ticket, "summary": "Asks for help."}) if "JSON" in text or "json" in text else "Hello."


def test_a_matrix_shows_intervals_and_the_difference_to_empty(here: Here) -> None:
    page = opened(here)
    here.script.reads = answers
    page.get_by_role("tab", name="Matrix").click()
    page.locator("#mx-library-review-sentiment").scroll_into_view_if_needed()
    for number in range(12):
        page.locator("#mx-asked").fill(f"Where is order {number}?")
        page.locator("#mx-kind").select_option("contains")
        page.locator("#mx-value").fill("queue")
        page.locator("#mx-add").click()
    assert len(page.locator("#mx-cases").input_value().splitlines()) == 12
    page.locator("#mx-run").click()
    sync.expect(page.locator(".mx-headline")).to_contain_text("ticket-triage")
    rows = page.locator("table.mx tbody tr")
    assert rows.count() == 2
    assert rows.nth(0).inner_text().startswith("empty")
    assert "0 %" in rows.nth(0).inner_text()
    gained = rows.nth(1)
    assert "100 %" in gained.inner_text()
    assert "+100 points to empty" in gained.inner_text()
    assert "better for sure" in gained.inner_text()
    assert gained.locator(".range").first.get_attribute("aria-label") == "95 % interval 76 % to 100 %"
    here.shot("26_matrix")
    gained.get_by_role("button", name=re.compile("12 won, 0 lost")).first.click()
    assert page.locator(".flips article").count() == 12
    page.keyboard.press("Escape")
    with page.expect_download() as told:
        page.locator("#mx-html").click()
    assert "What the instructions gain" in Path(told.value.path()).read_text()
    asked = len(here.script.asked)
    page.locator("#mx-run").click()  # nothing is asked twice
    sync.expect(page.locator("#mx-run")).to_be_visible()
    sync.expect(page.locator(".mx-headline")).to_be_visible()
    assert len(here.script.asked) == asked
    page.reload()
    page.wait_for_selector("body[data-ready]")
    sync.expect(page.locator(".mx-headline")).to_contain_text("ticket-triage")
    assert len(here.script.asked) == asked


def test_what_is_wrong_with_a_matrix_is_said(here: Here) -> None:
    page = opened(here)
    page.get_by_role("tab", name="Matrix").click()
    page.locator("#mx-run").click()
    sync.expect(page.locator("#mx-told .error")).to_contain_text("no cases")
    page.locator("#mx-cases").fill(
        '{"vars": {"tickt": "x"}, "assert": ["is-json"]}\n{"vars": {"ticket": "x"}, "assert": [{"type": "contain", "value": "x"}]}\n'
    )
    page.locator("#mx-run").click()
    sync.expect(page.locator("#mx-told .error")).to_contain_text("did you mean 'ticket'")
    sync.expect(page.locator("#mx-told .error")).to_contain_text("did you mean 'contains'")
    assert here.script.asked == []


def test_a_matrix_can_be_stopped(here: Here) -> None:
    page = opened(here)
    page.get_by_role("tab", name="Matrix").click()
    page.locator("#mx-cases").fill(
        "".join(
            f'{{"vars": {{"ticket": "{n}"}}, "assert": [{{"type": "not-contains", "value": "x"}}]}}\n' for n in range(8)
        )
    )
    here.script.busy = 500  # every request is sent away for a second
    page.locator("#mx-run").click()
    sync.expect(page.locator("#mx-told")).to_contain_text("of 32 answers")
    page.locator("#mx-stop").click()
    sync.expect(page.locator("#mx-run")).to_be_visible()
    assert page.locator(".mx-headline").count() == 0


def test_the_keyboard_is_enough_to_write_and_to_use_an_instruction(here: Here) -> None:
    page = here.open()
    press = page.keyboard.press
    press("4")
    sync.expect(page.locator("#ws-open")).to_be_visible()

    def tab_to(choose: str) -> None:
        for _ in range(120):
            if page.evaluate("(choose) => document.activeElement.matches(choose)", choose):
                return
            press("Tab")
        raise AssertionError(f"{choose} is not reached by Tab")

    tab_to("#ws-open")
    press("Enter")
    sync.expect(page.locator("dialog button.file").first).to_be_focused()
    for _ in range(40):
        if "ticket-triage" in page.evaluate("document.activeElement.textContent"):
            break
        press("Tab")
    press("Enter")
    sync.expect(page.locator("#ws-name")).to_be_focused()
    sync.expect(block(page, "task")).to_be_visible()
    looked(page)
    tab_to('.block[data-block="task"] textarea')
    press("Control+a")
    page.keyboard.type("ALWAYS choose a queue!!!")
    sync.expect(block(page, "task").locator(".finding", has_text="HD203")).to_be_visible()
    assert page.evaluate("document.activeElement.value") == "ALWAYS choose a queue!!!"
    looked(page)
    tab_to('.block[data-block="task"] .do')
    press("Enter")
    sync.expect(block(page, "task").locator(".finding", has_text="HD203")).to_have_count(0)
    page.locator("#ws-name").evaluate("node => node.focus()")
    tab_to("#ws-use")
    press("Enter")
    sync.expect(page.locator("#question")).to_be_focused()
    page.keyboard.type(TICKET)
    press("Enter")
    sync.expect(page.locator(".cell[data-status=done]")).to_have_count(2)
    assert "lways choose a queue" in here.asked("/chat/completions")[-1]["messages"][0]["content"]


def test_narrow_and_dark_and_readable(here: Here) -> None:
    page = opened(here, width=360, height=740, scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    here.shot("27_narrow_dark_instruction")
    page.locator("#compiled").scroll_into_view_if_needed()
    here.shot("28_narrow_dark_preview")
    here.script.reads = answers
    page.get_by_role("tab", name="Matrix").click()
    page.locator("#mx-cases").fill(
        '{"vars": {"ticket": "Where is order 1?"}, "assert": [{"type": "contains", "value": "queue"}]}\n'
    )
    page.locator("#mx-run").click()
    sync.expect(page.locator(".mx-headline")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    here.shot("29_narrow_dark_matrix")
    page.get_by_role("tab", name="Instruction").click()
    looked(page)
    block(page, "task").locator("textarea").fill("ALWAYS choose a queue!!!")
    sync.expect(page.locator(".finding").first).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for choose in (
            ".block textarea",
            ".block .count",
            ".finding .mend",
            ".finding summary",
            "#ws-status",
            "#compiled .seg.b1",
            "#compiled .seg.frame",
        ):
            assert _contrast(page, choose) >= 4.5, (scheme, choose)


def test_every_control_has_a_name_and_nothing_is_markup(here: Here) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\">"
    page = opened(here)
    block(page, "task").locator("textarea").fill(evil)
    looked(page)
    page.locator("#in-ticket").fill(evil)
    looked(page)
    nameless = """() => [...document.querySelectorAll("button, input, select, textarea, [role=button], [tabindex='0']")]
        .filter((node) => !(node.getAttribute("aria-label") || node.labels?.length || node.textContent.trim() || node.title))
        .map((node) => node.outerHTML.slice(0, 120))"""
    for view in ("Instruction", "Matrix"):
        page.get_by_role("tab", name=view).click()
        assert page.evaluate(nameless) == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    assert page.title() == "heed playground"
    assert page.locator("main img").count() == 0
