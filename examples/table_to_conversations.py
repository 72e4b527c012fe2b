"""A table of texts and labels becomes conversations, by prompt templates: no model is needed for that.

The same 60 tickets are prepared twice. First each is asked in one wording of the template; then in two, with solved examples
before some of the questions, the instructions in four notations, and a tenth of the conversations the other way round.

    python examples/table_to_conversations.py            # writes tickets.csv and two runs beside it
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import heedlm

SUBJECTS = ["my parcel", "the blue lamp", "order 4417", "a second chair", "the garden table"]
QUEUES = {
    "ship": ["{} has not arrived yet.", "Where is {}? It was to come on Monday.", "Please send {} to my office instead.",
             "The carrier says that {} is lost."],
    "bill": ["I was charged twice for {}.", "The invoice for {} shows the wrong address.", "Can I pay for {} by card?",
             "When do I get the money back for {}?"],
    "other": ["Is {} made of oak?", "Do you also sell {} in green?", "How do I clean {}?", "Thank you, we love {}!"],
}  # fmt: skip
MEANING = {"ship": "shipping", "bill": "billing", "other": "something else"}


def capital(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def write_table(path: Path) -> None:
    """60 tickets: a text and a code for the queue it belongs to."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["message", "code"])
        for queue, texts in QUEUES.items():
            table.writerows([capital(text.format(subject)), queue] for text in texts for subject in SUBJECTS)


def conversations(run: Path, table: Path, **options: Any) -> list[dict[str, Any]]:
    """The train rows of a run whose source is the table."""
    source = {
        "path": str(table),
        "prompts": "classify-text",
        "mapping": {"label": "code"},
        "labels": MEANING,
        **options,
    }
    # Tickets of one form are alike on purpose; they are kept, and stay on one side of the split.
    settings = {"data.sources": [source], "data.near_duplicates": "flag", "data.test": 0.2}
    heedlm.prepare(run=run, settings=settings)
    return [json.loads(line) for line in (run / "data" / "train.jsonl").open(encoding="utf-8")]


def main(arguments: Sequence[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    parser = argparse.ArgumentParser(description="A table becomes conversations.")
    parser.add_argument("--run", default="runs/tickets", help="a folder for the table and the runs")
    options = parser.parse_args(arguments)
    folder = Path(options.run)
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "tickets.csv"
    write_table(table)
    found = {
        "plain": conversations(folder / "plain", table),
        "varied": conversations(folder / "varied", table, prompts_per_row=2, few_shot=2, inverted=0.1, notation="mix"),
    }
    for name, rows in found.items():
        print(f"{name}: {len(rows)} conversations to learn from, two of them:")
        for row in rows[:2]:
            for turn in row["messages"]:
                print(f"  {turn['role']}: " + turn["content"].replace("\n", "\n    "))
            print()
    return found


if __name__ == "__main__":
    main()
