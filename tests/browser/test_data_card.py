"""The data card as a person opens it: from a file, on a wide screen and on a narrow one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heedlm.config import DataConfig
from heedlm.data.checks import checks_of
from heedlm.data.prepare import Source, prepare

pytestmark = pytest.mark.browser
ODD = "</td><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a folder with a long name " * 3)
    rows = [{"prompt": f"What is {n}? {ODD}", "completion": f"It is {n}. " * (1 + n % 40)} for n in range(60)]
    rows += [{"prompt": "x" * 300, "completion": "Ann is ann@example.org."}, {"prompt": "Empty?", "completion": ""}]
    (folder / "rows.jsonl").write_text("".join(json.dumps({**row, "system": ODD}) + "\n" for row in rows))
    checks = checks_of(DataConfig(clean={"email": "mask"}))  # type: ignore[arg-type]
    report = prepare(
        [Source(folder / "rows.jsonl")], folder / "out", val=0.1, test=0.1, seed=0, max_bad=0.1, checks=checks
    )
    return report.out / "card.html"


@pytest.mark.parametrize("width", [1200, 400])
def test_all_of_it_is_seen_and_nothing_else_is_loaded(browser, card, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    heard = []
    page.on("request", lambda request: heard.append(request.url))
    page.on("console", lambda message: heard.append(message.text))
    page.goto(card.as_uri())
    assert heard == [card.as_uri()]
    assert page.title() == "Data card"
    titles = page.locator("h2").all_text_contents()
    assert titles == ["Splits", "Lengths", "Dropped", "Flagged", "Languages", "Sources", "Examples"]
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    bars = page.locator("rect").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert max(bars) == pytest.approx(100)
    assert min(bars) >= 0
    # Words stand whole in their cells, however narrow the screen.
    lines = "cell => { const all = document.createRange(); all.selectNodeContents(cell); return all.getClientRects().length }"
    assert page.get_by_role("cell", name="masked", exact=True).evaluate(lines) == 1
    page.close()
