"""The playground on the real server with the built-in base model: what a script may get wrong about either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
sync = pytest.importorskip("playwright.sync_api")
pytest.importorskip("fastapi")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """`heed serve atlas --ui`, in a folder of its own."""
    command = [sys.executable, "-m", "heedlm", "serve", "atlas", "--ui", "--port", "0", "--json", "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = ""
        while not told.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, "the server ended"
            told += line
        yield json.loads(told)["url"].removesuffix("/v1")
        process.terminate()


def test_a_real_model_is_asked_seen_and_mended(browser: Any, url: str, tmp_path: Path, shots: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    began = time.perf_counter()
    page.goto(url)  # the address alone leads to the page
    page.locator("body[data-ready] #send:not([disabled])").wait_for()
    assert time.perf_counter() - began < 10  # benchmarks/playground.py measures it
    for box in ("#f-chatml", "#f-llama3"):
        page.locator(box).check()
    page.get_by_label("Longest answer").fill("24")
    page.get_by_label("Longest answer").press("Tab")
    page.fill("#question", "What is the capital of <|im_end|> Frànce? 🙂")
    page.keyboard.press("Enter")
    sync.expect(page.locator(".cell[data-status=done]")).to_have_count(3, timeout=60_000)
    for number in range(3):
        cell = page.locator(".cell").nth(number)
        cell.get_by_role("button", name="Tokens").click()
        assert cell.locator(".tok[data-index]").count() > 0
        assert "Perplexity" in cell.inner_text()
        cell.get_by_role("button", name="Prompt").click()
        sync.expect(cell.locator(".seen .seg").first).to_be_visible()
        text = "".join(cell.locator(".seen p.segments .seg").all_inner_texts())
        assert "Frànce? 🙂" in text
    assert "taken as plain letters" in page.locator(".cell", has_text="ChatML").inner_text()
    page.screenshot(path=shots / "17_live.png")
    chat = page.locator(".cell", has_text="ChatML")
    chat.get_by_role("button", name="Fix").click()
    page.get_by_label("It should have said").fill("The capital of France is Paris, surely.")
    sync.expect(page.locator(".verdict .good").last).to_contain_text("the right answer passes")
    page.get_by_label("Your name").fill("Ann")
    page.get_by_role("button", name="Keep as row and case").click()
    sync.expect(page.locator(".kept pre")).to_contain_text("heed train next.yaml --run runs/first")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Cases").click()
    page.get_by_role("button", name="Run all").click()
    sync.expect(page.locator("tfoot b")).to_have_count(3, timeout=60_000)
    page.close()
    assert problems == []
    assert {"human.jsonl", "cases.jsonl", "cases.yaml", "next.yaml"} <= {entry.name for entry in tmp_path.iterdir()}


def test_an_instruction_is_proved_used_and_measured_on_a_real_model(browser: Any, url: str, shots: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(url)
    page.locator("body[data-ready] #send:not([disabled])").wait_for()
    page.get_by_label("Longest answer").fill("12")
    page.get_by_label("Longest answer").press("Tab")
    page.get_by_role("tab", name="Instruction").click()
    page.locator("#ws-open").click()
    page.locator("dialog button.file", has_text="review-sentiment").click()
    sync.expect(page.locator(".block[data-block=task]")).to_be_visible()
    sync.expect(page.locator("#view-instruction")).to_have_attribute("data-state", "done")
    page.get_by_label("Format", exact=True).select_option("plain")
    sync.expect(page.locator("#compiled")).not_to_contain_text("<|im_start|>")
    assert "TASK:" in page.locator("#compiled").inner_text()
    shown = "".join(page.locator("#compiled .seg").all_inner_texts()).replace("\u21b5", "")
    page.locator("#ws-use").click()
    page.fill("#question", "The soup was cold.")
    page.keyboard.press("Enter")
    sync.expect(page.locator(".cell[data-status=done]")).to_have_count(1, timeout=120_000)
    page.locator(".cell").get_by_role("button", name="Prompt").click()
    seen = page.locator(".cell .seen p.segments")
    sync.expect(seen).to_contain_text("The soup was cold.")
    told = "".join(seen.locator(".seg").all_inner_texts()).replace("\u21b5", "")
    assert shown.partition("Input:")[0] in told, "what was shown is what is asked"
    page.get_by_role("tab", name="Matrix").click()
    page.locator("#mx-asked").fill("The soup was cold.")
    page.locator("#mx-value").fill("negative")
    page.locator("#mx-add").click()
    page.locator("#mx-run").click()
    sync.expect(page.locator("table.mx tbody tr")).to_have_count(2, timeout=120_000)
    sync.expect(page.locator("table.mx .range").first).to_be_visible()
    page.screenshot(path=shots / "30_live_matrix.png")
    page.close()
    assert problems == []
