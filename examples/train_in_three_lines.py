"""From a file of instructions to an instruct model, in three lines of Python.

Everything else in this script reads the command line.

    python examples/train_in_three_lines.py              # the built-in base model, in seconds
    python examples/train_in_three_lines.py --model Qwen/Qwen3-0.6B-Base --data my_rows.jsonl --run runs/mine
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import heedlm

# The file beside this script has 96 rows, about one step of the default size: short steps make more of few rows.
FEW_ROWS = {"train.tokens_per_step": 512, "train.epochs": 6}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="From a file of instructions to an instruct model.")
    parser.add_argument("--model", default="atlas", help="a base model: a folder, a hub id, or `atlas`")
    parser.add_argument("--data", help="rows as JSON or JSONL; default: the small file beside this script")
    parser.add_argument("--run", default="runs/three_lines", help="the run folder; the result is RUN/model")
    options = parser.parse_args(arguments)
    data = options.data or Path(__file__).with_name("rows.jsonl")
    settings = {} if options.data else FEW_ROWS

    report = heedlm.train(model=options.model, data=data, run=options.run, settings=settings)
    print(f"{report.model}: {report.steps} steps on {report.rows} rows, validation loss {report.best_loss}")
    print(f"Talk to it: heed chat {options.run}")


if __name__ == "__main__":
    main()
