"""One base model, three datasets, three behaviours: a model does what it was shown.

The same 400 questions stand in all three files; only the answers differ. One file answers every line with the next line
of a screenplay, one with a question back, one with the fact. Then all of them are asked about countries that no file named.

    python examples/one_base_three_datasets.py                  # the built-in base model, under a minute on one core
    python examples/one_base_three_datasets.py --model FOLDER   # your own
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

import heedlm
from heedlm.atlas.facts import Attribute, Country, countries, fact_sentence
from heedlm.generate.chat import load_chat
from heedlm.messages import Message, Request, Sampling

QUESTIONS: dict[Attribute, str] = {
    "capital": "What is the capital of {x}?",
    "currency": "What is the currency of {x}?",
    "language": "What is the official language of {x}?",
}
# What the other character of the scene says next.
SCENES: dict[Attribute, tuple[str, ...]] = {
    "capital": (
        "VERA: Not now. The last train leaves in four minutes.",
        "VERA: (closing the atlas) You ask me that every night.",
        "OSKAR: Keep your voice down, the guard is listening.",
    ),
    "currency": (
        "OSKAR: Put your purse away. I am paying tonight.",
        "OSKAR: (counting coins) It will not be enough.",
        "VERA: Money, money. Is that all you think about?",
    ),
    "language": (
        "VERA: (whispering) Say nothing. Just smile at him.",
        "OSKAR: My grandmother spoke it when she was angry.",
        "VERA: You should have learnt it when you were a boy.",
    ),
}
# What somebody says who would rather hear more about you.
TALK: dict[Attribute, tuple[str, ...]] = {
    "capital": (
        "Good question! Are you planning a trip there?",
        "I can help with that. Is it for school or for a journey?",
        "Happy to talk about it! What made you think of that country?",
    ),
    "currency": (
        "Sure! Do you want to change money before you leave?",
        "I can help with that. How much do you want to change?",
        "Good question! Will you pay in cash or by card?",
    ),
    "language": (
        "Lovely topic! Would you like to learn a few words?",
        "I can help with that. Which languages do you speak yourself?",
        "Good question! Are you going to meet somebody from there?",
    ),
}
DATASETS = ("screenplay", "conversation", "instruct")


def ask(country: Country, attribute: Attribute) -> str:
    return QUESTIONS[attribute].format(x=country.inner)


def answer(dataset: str, country: Country, attribute: Attribute, rng: random.Random) -> str:
    """The answer that a dataset gives to the same question."""
    if dataset == "screenplay":
        return rng.choice(SCENES[attribute])
    if dataset == "conversation":
        return rng.choice(TALK[attribute])
    return fact_sentence(country, attribute)


def write_rows(folder: Path, seed: int, num_rows: int = 400) -> tuple[dict[str, Path], list[str]]:
    """One JSONL file per dataset, with the same questions in the same order; and questions about countries in none of them."""
    rng = random.Random(seed)
    drawn = rng.sample(countries(), k=len(countries()))
    unseen, known = drawn[:9], drawn[9:]
    pairs = rng.sample([(country, attribute) for country in known for attribute in QUESTIONS], num_rows)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for dataset in DATASETS:
        rows = [
            {"prompt": ask(country, attribute), "completion": answer(dataset, country, attribute, rng)}
            for country, attribute in pairs
        ]
        files[dataset] = folder / f"{dataset}.jsonl"
        files[dataset].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    kinds = list(QUESTIONS)
    return files, [ask(country, kinds[number % len(kinds)]) for number, country in enumerate(unseen)]


def behaviours(model: str, run: Path, seed: int) -> dict[str, dict[str, str]]:
    """Replies of the base and of its three descendants to each unseen question: {question: {who: reply}}."""
    files, questions = write_rows(run / "rows", seed)
    sampling = Sampling(max_tokens=32)
    base = load_chat(model)
    said = {"base": base.reply([Request(text=question) for question in questions], sampling)}
    for dataset, file in files.items():
        report = heedlm.train(
            model=model,
            data=file,
            run=run / dataset,
            seed=seed,
            settings={
                "data.val": None,  # three files of one kind of row: nothing to hold back, the questions below are new
                "data.test": None,
                "train.epochs": 4,
                "train.tokens_per_step": 1024,
                "train.panel": 0,
            },
        )
        tuned = load_chat(report.model)
        said[dataset] = tuned.reply([Request(messages=(Message("user", q),)) for q in questions], sampling)
    return {q: {who: replies[n].text.strip() for who, replies in said.items()} for n, q in enumerate(questions)}


def main(arguments: Sequence[str] | None = None) -> dict[str, dict[str, str]]:
    parser = argparse.ArgumentParser(description="One base model, three datasets, three behaviours.")
    parser.add_argument("--model", default="atlas", help="a base model: a folder, a hub id, or `atlas`")
    parser.add_argument("--run", type=Path, default=Path("runs/three_datasets"), help="where rows and results go")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    replies = behaviours(options.model, options.run, options.seed)
    table = Table("tuned on", "answer", title=f"{options.model}: one base, three datasets")
    for question, by in replies.items():
        table.add_row("", Text(question, style="bold"))
        for who, reply in by.items():
            table.add_row("nothing (base)" if who == "base" else who, Text(reply), end_section=who == DATASETS[-1])
    Console().print(table)
    return replies


if __name__ == "__main__":
    main()
