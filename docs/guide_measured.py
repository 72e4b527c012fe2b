"""Measured pages of the guide: what benchmarks/instructions_grid.py found, as tables, a picture and the words that follow.

docs/make_guide.py puts it into the pages. Every figure and every judgement is taken from the last line of
benchmarks/results/instructions_grid.jsonl: a gain is called one only where its interval says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "instructions_grid.jsonl"
COMMAND = ".venv/bin/python benchmarks/instructions_grid.py"
BIG, SMALL = "built-in", "small"
PICTURE = "prompt_tune_bake.svg"
TASKS = {
    "name": ("bare name", "answer a question about a country with the name alone"),
    "capitals": ("capital letters", "answer it in a sentence of capital letters"),
    "month": ("best month", "name the best month of a table of sales, and the trend"),
    "trend": ("trend", "say how sales changed from the first month to the last"),
    "list": ("list", "write words as a bulleted list"),
    "signed": ("signature", "answer a question about a country and sign the answer"),
    "opening": ("opening", "answer a question about a country behind fixed words of thanks"),
    "array": ("JSON array", "write words as a JSON array"),
    "record": ("JSON record", "answer a question about a country as a JSON object"),
    "summary": ("summary", "sum up an article in one sentence"),
}
ARMS = {
    "base": "base, bare request",
    "base + hand": "base, best instruction by hand",
    "base + optimised": "base, searched instruction",
    "tuned": "tuned, bare request",
    "tuned + hand": "tuned, best instruction by hand",
    "tuned + optimised": "tuned, searched instruction",
    "baked": "instruction baked in, bare request",
    "baked + text": "baked, and the instruction as well",
    "taught": "taught with right answers, bare request",
    "taught + text": "taught, and the instruction as well",
}
STYLES = {"none": "no instruction", "short": "short", "full": "full", "shown": "with examples"}

Grid = Mapping[str, Any]


def recorded(path: Path = RESULTS) -> Grid | None:
    """The last complete result; None where nothing was measured yet."""
    if not path.is_file():
        return None
    lines = [json.loads(line) for line in path.read_text("utf8").splitlines() if line.strip()]
    whole = [line for line in lines if not line["smoke"]]
    return whole[-1] if whole else None


def sure(one: Mapping[str, Any]) -> int:
    """1 for a gain, -1 for a loss, 0 where the interval holds both."""
    return 1 if one["low"] > 0 else -1 if one["high"] < 0 else 0


def points(one: Mapping[str, Any]) -> str:
    """A step with its interval, in points."""
    return f"{one['mean']:+.1f} points [{one['low']:+.1f}, {one['high']:+.1f}]"


def step(grid: Grid, size: str, before: str, after: str, family: str = "all") -> Mapping[str, Any] | None:
    """A step of the result; None where no family has both arms."""
    found = [one for one in grid["steps"][size] if (one["from"], one["to"], one["family"]) == (before, after, family)]
    return found[0] if found else None


def cells(grid: Grid, size: str) -> list[Mapping[str, Any]]:
    return [one for one in grid["cells"] if one["size"] == size]


def title(family: str) -> str:
    return TASKS.get(family, (family, ""))[0]


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f}"


def millions(grid: Grid, size: str) -> str:
    (one,) = (one for one in grid["sizes"] if one["name"] == size)
    return f"{one['parameters'] / 1e6:.1f} million"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    marks = ["---", *(["--:"] * (len(head) - 1) if numbers else ["---"] * (len(head) - 1))]
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(marks)}|", *lines[1:]])


def means_table(grid: Grid, size: str) -> str:
    """Right answers of each arm in per cent, a column for each task."""
    held = cells(grid, size)
    rows = []
    for arm, words in ARMS.items():
        values = [one["means"].get(arm) for one in held]
        if any(value is not None for value in values):
            known = [value for value in values if value is not None]
            mean = percent(sum(known) / len(known)) if len(known) == len(values) else ""
            rows.append([words, *map(percent, values), mean])
    return table(["right answers, %", *(title(one["family"]) for one in held), "mean"], rows)


def steps_table(grid: Grid, size: str) -> str:
    """What each step gains over all tasks, and on how many of them it surely gains or loses."""
    rows = []
    for one in (one for one in grid["steps"][size] if one["family"] == "all" and one["to"] in ARMS):
        each = [
            other
            for other in grid["steps"][size]
            if (other["from"], other["to"]) == (one["from"], one["to"]) and other["family"] != "all"
        ]
        gains, losses = (sum(sure(other) == sign for other in each) for sign in (1, -1))
        change = f"{one['mean']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]"
        rows.append([ARMS[one["from"]], ARMS[one["to"]], change, f"{gains} of {len(each)}", f"{losses} of {len(each)}"])
    return table(["from", "to", "points, 95 %", "surely better on", "surely worse on"], rows)


def styles_table(grid: Grid, size: str) -> str:
    """The ways of writing by hand on the tuned model, with what they cost."""
    held = cells(grid, size)
    rows = []
    for style, words in STYLES.items():
        arm = "tuned" if style == "none" else f"tuned + {style}"
        values = [one["means"][arm] for one in held]
        tokens = sum(one["tokens"]["tuned"][style] for one in held) / len(held)
        rows.append([words, *map(percent, values), percent(sum(values) / len(values)), f"{tokens:.0f}"])
    return table(["instruction", *(title(one["family"]) for one in held), "mean", "tokens sent"], rows)


def spread_table(grid: Grid) -> str:
    """The same words in every notation, by task."""
    rows = []
    for size in (BIG, SMALL):
        for one in cells(grid, size):
            found = one["notations"]
            spread = 100 * (max(found.values()) - min(found.values()))
            rows.append([title(one["family"]), _word(size), *map(percent, found.values()), f"{spread:.0f}"])
    return table(["task", "model", *cells(grid, BIG)[0]["notations"], "spread"], rows)


def picture(grid: Grid, size: str = BIG) -> str:
    """Bars of the main arms, task by task, as an SVG that needs no script and no font of its own."""
    colours = {
        "base": "#b8bec6",
        "base + optimised": "#7b8794",
        "tuned": "#9ec5e8",
        "tuned + optimised": "#2f7fc1",
        "baked": "#e0a23c",
        "taught": "#4b9b62",
    }
    left, width, bar, gap, top = 150, 430, 12, 22, 64
    shown, y = list[str](), top
    for one in cells(grid, size):
        arms = [arm for arm in colours if arm in one["means"]]
        middle = y + len(arms) * bar / 2 + 4
        shown.append(f'<text x="{left - 12}" y="{middle:g}" text-anchor="end">{title(one["family"])}</text>')
        for arm in arms:
            share = one["means"][arm]
            shown.append(
                f'<rect x="{left}" y="{y}" width="{max(1.0, width * share):.1f}" height="{bar - 2}" fill="{colours[arm]}"/>'
                f'<text class="n" x="{left + width * share + 5:.1f}" y="{y + bar - 3}">{percent(share)}</text>'
            )
            y += bar
        y += gap
    legend = []
    for number, (arm, colour) in enumerate(colours.items()):
        x, line = 20 + 205 * (number % 3), 18 + 20 * (number // 3)
        legend.append(
            f'<rect x="{x}" y="{line - 9}" width="10" height="10" fill="{colour}"/>'
            f'<text x="{x + 15}" y="{line}">{ARMS[arm].replace(", bare request", "")}</text>'
        )
    ticks = "".join(
        f'<line x1="{left + width * part / 4:g}" x2="{left + width * part / 4:g}" y1="{top - 8}" y2="{y - gap + 6}"/>'
        for part in range(5)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {y}" width="640" height="{y}" role="img" '
        f'aria-label="Right answers in per cent, task by task">\n'
        "<style>text{font:12px sans-serif;fill:#24292f}.n{font-size:10px;fill:#57606a}line{stroke:#e3e6ea}</style>\n"
        f'<rect width="640" height="{y}" fill="#ffffff"/>\n<g>{ticks}</g>\n'
        + "\n".join([*legend, *shown])
        + "\n</svg>\n"
    )


def said(one: Mapping[str, Any] | None, better: str, same: str, worse: str) -> str:
    """The sentence that a step's interval allows, with its figures. Each sentence has a place for them: {}."""
    if one is None:
        return ""
    return {1: better, 0: same, -1: worse}[sure(one)].format(points(one))


def reading(grid: Grid, size: str = BIG) -> list[str]:
    """What the figures say to do, for one size."""
    get: Callable[[str, str], Mapping[str, Any] | None] = lambda before, after: step(grid, size, before, after)  # noqa: E731
    found = [
        said(
            get("base", "base + optimised"),
            "**A base model gains from an instruction**, even one that nobody taught to follow any: {}.",
            "**A base model of this size gains nothing sure from an instruction**: {}. It continues text; nobody taught it that an "
            "order is to be followed. Prompting begins to pay when a model is tuned to follow instructions.",
            "**An instruction harms this base model**: {}. It continues text; nobody taught it that an order is to be followed.",
        ),
        said(
            get("base + optimised", "tuned + optimised"),
            "**Tuning on instructions is what makes instructions work**: with the best text for each, the tuned model is better by {}.",
            "**Tuning made no sure difference** once each model had the best text: {}.",
            "**Tuning cost something** where each model had the best text: {}.",
        ),
        said(
            get("tuned", "tuned + hand"),
            "**On a tuned model, write an instruction first**: the best of three that a person writes gains {}.",
            "**On the tuned model an instruction by hand gains nothing sure over all tasks**: {}.",
            "**On the tuned model an instruction by hand loses over all tasks**: {}.",
        ),
        said(
            get("tuned + hand", "tuned + optimised"),
            "**Let a program search on from there**: `heed prompt optimize` adds {}.",
            "**A search on from there found nothing sure over all tasks**: {}. It costs nothing but time, and its gate keeps what you have.",
            "**The search lost something on rows that it had not seen**: {}. Its gate is not infallible: test again on fresh rows.",
        ),
        said(
            get("tuned + optimised", "baked"),
            "**Baking did even better than the text**: {}, and the text need not be sent any more.",
            "**Baking does without the text** what the model did with it, as far as these rows can tell: {} against sending it.",
            "**Baking loses a part of what the text brings about**: {} against sending it. In return no token of it is sent any more.",
        ),
        said(
            get("tuned + optimised", "taught"),
            "**With right answers at hand, teaching beats words**: {} against the best text.",
            "**Teaching with right answers and sending the best text** cannot be told apart over all tasks: {}. Look at them one by one.",
            "**Teaching with so few right answers does worse than the best text**: {}.",
        ),
        said(
            get("taught", "taught + text"),
            "**Both together**: giving the taught model the text as well adds {}.",
            "**Both together** add nothing sure to the taught model: {}. Leave the text out, and save its tokens.",
            "**Not both**: the taught model does worse with the text in front: {}.",
        ),
    ]
    verdicts = [one.get("tuned_verdict", "kept") for one in cells(grid, size)]
    taken = f"On {verdicts.count('better')} of {len(verdicts)} tasks the search's own gate let a new instruction through; else the old one stays."
    found = [f"{one} {taken}" if "search" in one and "gate" in one else one for one in found]
    best = "; ".join(f"{title(one['family'])}: {_best(one)}" for one in cells(grid, size))
    return [f"- {one}" for one in [*filter(None, found), f"**Task by task** the highest score has: {best}."]]


def _best(one: Mapping[str, Any]) -> str:
    """The arm with the highest score, the one that costs least among equals."""
    arm = max((arm for arm in ARMS if arm in one["means"]), key=lambda arm: one["means"][arm])
    return f"{ARMS[arm]} ({percent(one['means'][arm])} %)"


def with_size(grid: Grid) -> str:
    """Does the gain fall with size? In words, for the two kinds of instruction on the tuned models."""
    rows, words = [], []
    for one in grid["size_changes_gain"]:
        if one["family"] == "all":
            gain = f"{one['mean']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]"
            rows.append([ARMS[one["to"]], f"{one['small']:+.1f}", f"{one['built_in']:+.1f}", gain])
            if one["to"] == "tuned + optimised":
                words.append(
                    said(
                        one,
                        "Here it **rises**: by {} from the smaller tuned model to the larger.",
                        "Here **no change is sure**: {} from the smaller tuned model to the larger.",
                        "Here it **falls**: by {} from the smaller tuned model to the larger.",
                    )
                )
    return (
        table(["gain, in points, of", "smaller model", "larger model", "change, 95 %"], rows) + "\n\n" + " ".join(words)
    )


def styles_section(grid: Grid) -> str:
    """For the page about experiments: what three ways of writing by hand did on the tuned models."""
    parts = [
        "## Longer is not better: three ways of writing, measured\n\n"
        "Three instructions were written for each of these tasks: a short one (a sentence or two), a full one (role, task, rules and\n"
        "format, as in any textbook) and one with solved examples. Right answers in per cent, on inputs that nobody had seen, of two small\n"
        "models that were tuned to follow instructions:\n"
    ]
    for size in (BIG, SMALL):
        parts.append(f"{_named(grid, size)}\n\n{styles_table(grid, size)}\n")
    for after, what in (("tuned + full", "Role and rules"), ("tuned + shown", "Solved examples")):
        one = step(grid, BIG, "tuned + short", after)
        parts.append(
            said(
                one,
                f"**{what} helped** the larger model, against the short instruction: {{}}.\n",
                f"**{what} made no sure difference** to the larger model, against the short instruction: {{}}.\n",
                f"**{what} did harm** to the larger model, against the short instruction: {{}}.\n",
            )
        )
    winners = [max(STYLES, key=lambda style: _style_mean(grid, size, style)) for size in (BIG, SMALL)]
    best = [f"*{STYLES[style]}* on the {_word(size)} model" for style, size in zip(winners, (BIG, SMALL), strict=True)]
    parts.append(
        f"The best way over all these tasks was {' and '.join(best)}. Elsewhere rules and examples help, and the published experiments\n"
        "with larger models say so ([best practices](practices.md)); these two were tuned on short instructions, of a role and\n"
        "a rule. That is the lesson: an instruction is good *for a model*, and only your own inputs can tell which.\n"
    )
    return "\n".join(parts) + "\n"


def _style_mean(grid: Grid, size: str, style: str) -> float:
    arm = "tuned" if style == "none" else f"tuned + {style}"
    held = cells(grid, size)
    return float(sum(one["means"][arm] for one in held)) / len(held)


def spread_section(grid: Grid | None) -> str:
    """For the page about notations: the same words in each."""
    if grid is None:
        return ""
    found = [one["notations"] for one in grid["cells"]]
    widest = 100 * max(max(one.values()) - min(one.values()) for one in found)
    return (
        "## What a notation changed, measured\n\nThe best instruction by hand for each task, not a word changed, in every notation. Right answers in per "
        f"cent of two small\ntuned models; *spread* is the best notation minus the worst. The widest here is {widest:.0f} points.\n\n"
        f"{spread_table(grid)}\n\n"
        "A spread of a few points on so few inputs is luck as often as not; one of twenty is not. Try all four: it costs no word.\n\n"
    )


def _word(size: str) -> str:
    return "larger" if size == BIG else "smaller"


def _named(grid: Grid, size: str) -> str:
    return f"The {_word(size)} model, {millions(grid, size)} weights:"


def pictures(grid: Grid | None) -> list[tuple[str, str]]:
    return [] if grid is None else [(PICTURE, picture(grid))]


WHEN = """| write a better instruction when | tune the model when |
|---|---|
| you have fewer than a few hundred examples | you have hundreds of good answers, or can make them |
| the task changes every week | the task stays |
| the model follows instructions already | the model is a base model, or too small to follow them |
| answers are wrong because a fact is missing | answers have the wrong form although you said and showed the right one |
| few requests are sent | the instruction is long, and paid for in every request |

And **bake** the instruction into the weights when it works, is long, and will not change soon: the model then does without
the text what it did with it. No right answers are needed for that, only requests ([baking](../baking.md))."""

WAY = """## A way through it

1. Write the instruction with the five blocks, and try it on thirty real inputs.
2. Try it shorter, and with two to five examples. Keep what scores best, not what reads best.
3. Let `heed prompt optimize` search on from there.
4. If the form is still wrong in more than a few answers of a hundred, collect answers that are right, and tune:

```bash
heed prepare --data examples/rows.jsonl --run runs/mine
heed train --data examples/rows.jsonl --model atlas --run runs/mine
heed eval runs/mine
```

5. Compare four arms, not two: each model with and without the instruction. Where the tuned model needs the instruction no
   more, leave it out and save its tokens.
6. If the instruction works and is long, bake it: `heed prompt bake mine.prompty --model runs/mine --requests requests.jsonl --run runs/baked`.

What tuning does not do: it teaches the form of an answer, hardly ever a fact. Facts belong into the input.

More: [the tour](../tour.md) trains a small model from the beginning; [the concepts](../concepts.md) explain the words.
"""


def tuning_page(grid: Grid | None) -> str:
    """The page about prompting, tuning and baking."""
    head = (
        "# When to tune\n\nAn instruction changes what a model is asked; tuning changes the model. Both can be wanted, and neither is always better.\n\n"
        f"{WHEN}\n\n"
    )
    if grid is None:
        return f"{head}## Measured\n\nNothing is recorded yet: `{COMMAND}` measures it, and this page is then made anew.\n\n{WAY}"
    return head + _what_was_measured(grid) + _figures(grid) + _sizes(grid) + WAY


def _what_was_measured(grid: Grid) -> str:
    tasks = "; ".join(
        f"*{title(one['family'])}*: {TASKS.get(one['family'], ('', one['family']))[1]}" for one in cells(grid, BIG)
    )
    return (
        "## Prompt, tune, or both: measured\n\n"
        f"Two models that heed trains from nothing, of {millions(grid, BIG)} and {millions(grid, SMALL)} weights: tiny, so that anybody can repeat this on a\n"
        "laptop, and so that every fact in their small world is known. Each as it is after reading (*base*), and after tuning on\n"
        "questions and answers of many kinds (*tuned*), some of them near to these tasks and some not:\n\n"
        f"{tasks}.\n\n"
        "For each task three instructions were written by hand, the best of them was chosen on known inputs, and `heed prompt optimize`\n"
        f"searched on from it ({grid['budget']:,} answers). That instruction was also *baked* into the tuned model, and the tuned model was *taught* with right\n"
        f"answers to the same requests that baking had. Every figure is over {grid['rows']:,} inputs of each task that nothing of this had seen: other countries,\n"
        "words and products. *Bare request* means that only the input is sent, without a word of instruction.\n\n"
    )


def _figures(grid: Grid) -> str:
    rest = "\n".join(reading(grid))
    return (
        f"![Right answers of each arm, task by task]({PICTURE})\n\n{_named(grid, BIG)}\n\n{means_table(grid, BIG)}\n\n"
        f"{_named(grid, SMALL)}\n\n{means_table(grid, SMALL)}\n\n"
        "What each step changes, answer by answer on the same inputs, over all tasks that have both arms, with its interval at 95 %\n"
        f"(larger model):\n\n{steps_table(grid, BIG)}\n\n"
        f"## What that says\n\nEach sentence is chosen by the interval behind it; where the interval holds zero, nothing is claimed.\n\n{rest}\n\n"
    )


def _sizes(grid: Grid) -> str:
    read = {one["name"]: one["base"]["tokens"] / 1e6 for one in grid["sizes"]}
    return (
        "## Does an instruction gain less on a larger model?\n\nIt is often said that large models need less prompting. On these two, input by input:\n\n"
        f"{with_size(grid)}\n\n{_taught_small(grid)}"
        f"Two sizes are {grid['doublings']:.1f} doublings and no law. The smaller model has also read less ({read[SMALL]:.0f} million tokens against {read[BIG]:.0f} million), so this\n"
        "compares two models more than two sizes. What can be seen either way: a gain needs room above the bare request, and a model\n"
        "that follows the text; the smallest models lack the second, the largest ever more often the first.\n\n"
        f"Recorded with `{COMMAND}`, commit {grid['commit']}, {grid['machine']['cpu']}, {grid['machine']['cores']} cores; all of it, the intervals of each task as well, is the last line of\n"
        "`benchmarks/results/instructions_grid.jsonl`.\n\n"
    )


def _taught_small(grid: Grid) -> str:
    """What is left to do for a model that is too small to follow words."""
    found = said(
        step(grid, SMALL, "tuned + optimised", "taught"),
        "On the smaller model **right answers do what words cannot**: teaching beats the best text by {}.",
        "On the smaller model teaching and the best text cannot be told apart: {}.",
        "On the smaller model words do more than teaching: {} for teaching against the best text.",
    )
    return f"{found}\n\n" if found else ""
