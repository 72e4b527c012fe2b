"""How long a person waits for the playground: until the page can be used, and until the first text of an answer is on screen.

    .venv/bin/python benchmarks/playground.py            the shipped base model; some two minutes
    .venv/bin/python benchmarks/playground.py --quick    a smoke run with fewer questions

`heed serve MODEL --ui` runs as a process of its own, a real chromium opens the page: once to warm up, then in a fresh
profile (nothing cached) for each run. Usable: from the address being typed until a question can be sent. First text: from
the key Enter, as the page hears it, until the first letter of the answer stands in the document and a picture of it was
drawn (two animation frames); one cell, each question once, no prompt asked before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import common
from common import Failed, say

MODEL = "atlas"
WAIT = 120_000  # ms
# The clock starts where the page hears the key, and stops behind the frame in which the text was drawn.
WATCH = """() => {
  window.firstText = null;
  let began = 0;
  document.getElementById("question").addEventListener("keydown", (event) => { if (event.key === "Enter") { began = performance.now(); window.firstText = null; } }, true);
  new MutationObserver(() => {
    if (!began || window.firstText !== null) return;
    const answers = document.querySelectorAll(".round:last-child .answer > p:not(.quiet)");
    if (![...answers].some((node) => node.textContent.trim())) return;
    window.firstText = -1;
    requestAnimationFrame(() => requestAnimationFrame(() => { window.firstText = performance.now() - began; }));
  }).observe(document.getElementById("rounds"), { childList: true, subtree: true, characterData: true });
}"""


@contextmanager
def served(model: str, folder: Path, threads: int) -> Iterator[str]:
    """The address of `heed serve MODEL --ui` while it lives."""
    command = [sys.executable, "-m", "heedlm", "serve", model, "--ui", "--port", "0", "--json", "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told = ""
        while not told.rstrip().endswith("}"):
            line = process.stdout.readline()
            if not line:
                raise Failed(f"heed serve ended with code {process.wait()}")
            told += line
        yield json.loads(told)["url"].removesuffix("/v1")
    finally:
        process.terminate()
        process.wait()


def measure(model: str, runs: int, questions: int, threads: int) -> dict[str, Any]:
    """Seconds until the page can be used, milliseconds until the first text is on screen."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    usable: list[float] = []
    first: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        served(model, Path(folder), threads) as url,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for run in range(runs + 1):
            page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
            page.set_default_timeout(WAIT)
            began = time.perf_counter()
            page.goto(f"{url}/ui/")
            page.locator("body[data-ready] #send:not([disabled])").wait_for()
            if run:
                usable.append(time.perf_counter() - began)
        page.evaluate(WATCH)
        for number in range(questions + 1):
            page.fill("#question", f"What is the capital of country number {number}?")
            page.press("#question", "Enter")
            page.locator(".round").nth(number).locator(".cell[data-status=done]").wait_for()
            took = page.evaluate("window.firstText")
            if took is None or took < 0:
                said = page.locator(".round").nth(number).inner_text()
                raise Failed(f"no text of answer {number} was seen, but: {said[:200]!r}")
            if number:
                first.append(took)
        browser.close()
    return {
        "usable_seconds": round(statistics.median(usable), 3),
        "first_text_ms": round(statistics.median(first), 1),
        "first_text_ms_p90": round(sorted(first)[int(0.9 * (len(first) - 1))], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smoke run; nothing is claimed")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=5, help="times the page is opened")
    parser.add_argument("--questions", type=int, default=20)
    given = parser.parse_args()
    began = time.perf_counter()
    runs, questions = (2, 4) if given.quick else (given.runs, given.questions)
    try:
        found = measure(MODEL, runs, questions, given.threads)
    except Failed as failure:
        say(f"FAILED: {failure}")
        return 1
    say(common.table(("model", "usable s", "first text ms", "p90"), [(MODEL, *found.values())]))
    result = {**found, "model": MODEL, "runs": runs, "questions": questions}
    common.finish("playground", result, began=began, threads=given.threads, smoke=given.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
