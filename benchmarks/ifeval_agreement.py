"""Where our own checks and IFEval's maintained checkers judge the same rule, do they agree?

Every rule of the 541 public prompts that both have, on replies of many makes: public answers, public prompts, and edited
ones that keep or break a rule.

    HEED_PUBLIC_DATA=FOLDER .venv/bin/python benchmarks/ifeval_agreement.py --show 2
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import common

from heedlm.eval.checks import run_check
from heedlm.eval.scorers.ifeval import stands_in, verdicts
from heedlm.eval.text import sentences, words
from heedlm.messages import Example, Message

REPLIES = 400
DRAWN = 24  # natural replies for each rule, beside the edited ones
SEED = 5
_ANSWERS = ["My answer is yes.", "My answer is no.", "My answer is maybe."]  # those that IFEval allows
Kwargs = Mapping[str, Any]
Check = dict[str, Any]


def _relation(given: Kwargs, name: str) -> Check:
    number = int(given[name])
    return {"max": number - 1} if given["relation"] == "less than" else {"min": number}


# Ours for each kind that both have, from the arguments of the prompt.
OURS: Mapping[str, Callable[[Kwargs], list[Check]]] = {
    "keywords:existence": lambda k: [{"type": "icontains-all", "values": list(k["keywords"])}],
    "keywords:frequency": lambda k: [
        {"type": "keyword-count", "value": k["keyword"], "inside": True, **_relation(k, "frequency")}
    ],
    "keywords:forbidden_words": lambda k: [{"type": "forbidden-words", "values": list(k["forbidden_words"])}],
    "length_constraints:number_words": lambda k: [{"type": "word-count", **_relation(k, "num_words")}],
    "length_constraints:number_sentences": lambda k: [{"type": "sentence-count", **_relation(k, "num_sentences")}],
    "length_constraints:number_paragraphs": lambda k: [
        {"type": "paragraph-count", "equal": int(k["num_paragraphs"]), "separator": "***"}
    ],
    "detectable_format:constrained_response": lambda k: [{"type": "contains-any", "values": _ANSWERS}],
    "detectable_format:number_bullet_lists": lambda k: [{"type": "bullet-count", "equal": int(k["num_bullets"])}],
    "detectable_format:json_format": lambda k: [{"type": "is-json", "fenced": True}],
    "startend:end_checker": lambda k: [  # IFEval forgives a quotation mark behind the phrase, as `iends-with` does not
        {"type": "regex", "value": rf'(?is){re.escape(k["end_phrase"].strip())}"*\s*\Z'}
    ],
    "startend:quotation": lambda k: [
        {"type": "starts-with", "value": '"'},
        {"type": "ends-with", "value": '"'},
        {"type": "regex", "value": r"(?s).*\S.*\S"},
    ],
    "change_case:english_capital": lambda k: [{"type": "upper-case"}],
    "change_case:english_lowercase": lambda k: [{"type": "lower-case"}],
    "punctuation:no_comma": lambda k: [{"type": "not-contains", "value": ","}],
}


class Rule(NamedTuple):
    """One rule of one prompt. key: of the prompt."""

    key: str
    kind: str
    given: Kwargs
    prompt: str


class Pair(NamedTuple):
    """One rule and one reply, with both verdicts."""

    rule: Rule
    reply: str
    ours: bool
    theirs: bool


def rules(folder: Path) -> list[Rule]:
    """The rules that both have, of all prompts."""
    found = []
    for line in (folder / "ifeval_prompts.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for kind, given in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            if kind in OURS:
                given = {key: value for key, value in given.items() if value is not None}
                found.append(Rule(str(row["key"]), kind, given, row["prompt"]))
    return found


def natural(folder: Path, rng: random.Random) -> list[str]:
    """Answers as people and models wrote them, of all lengths."""
    rows = json.loads((folder / "instructions_1100.json").read_text(encoding="utf-8"))
    rows += json.loads((folder / "gpteacher_roleplay.json").read_text(encoding="utf-8"))
    answers = [str(row.get("output") or row.get("response") or "") for row in rows]
    maths = [str(row["output"]) for row in json.loads((folder / "gsm8k_train.json").read_text(encoding="utf-8"))]
    return rng.sample([text for text in answers if text.strip()], REPLIES) + rng.sample(maths, REPLIES // 4)


def edited(rule: Rule, texts: list[str], rng: random.Random) -> Iterator[str]:
    """Replies that try to keep the rule, and some that nearly do."""
    text = rng.choice(texts)
    lines = [line.strip() for line in re.split(r"(?<=[.!?])\s+|\n", text) if line.strip()]
    given = rule.given
    if rule.kind == "keywords:existence":
        yield text + " " + " ".join(given["keywords"])
        yield text + " " + " ".join(given["keywords"][1:])
        yield (text + " " + ", ".join(given["keywords"])).upper()
    elif rule.kind == "keywords:frequency":
        number = int(given["frequency"])
        for count in (number - 1, number, number + 1):
            yield text + f" {given['keyword']}" * max(0, count) + "."
        yield text + f" {given['keyword']}s" * number
    elif rule.kind == "detectable_format:constrained_response":
        yield rng.choice(_ANSWERS)
        yield rng.choice(_ANSWERS).lower()
    elif rule.kind == "keywords:forbidden_words":
        yield text + f" {given['forbidden_words'][0]}s"
        yield text + f" ({given['forbidden_words'][-1].upper()})"
    elif rule.kind == "startend:end_checker":
        yield f"{text}\n\n{given['end_phrase']}"
        yield f'{text} "{given["end_phrase"].upper()}"'
        yield f"{text} {given['end_phrase']} Bye."
    elif rule.kind == "startend:quotation":
        yield f'"{text}"'
        yield f'"{text}'
    elif rule.kind == "detectable_format:json_format":
        yield json.dumps({"answer": text})
        yield "```json\n" + json.dumps({"answer": lines}, indent=1) + "\n```"
        yield "Here it is:\n" + json.dumps({"answer": text})
    elif rule.kind == "detectable_format:number_bullet_lists":
        for more in (-1, 0, 1):
            number = max(1, int(given["num_bullets"]) + more)
            yield "\n".join(f"{rng.choice('*-')} {rng.choice(lines)}" for _ in range(number))
    elif rule.kind == "length_constraints:number_paragraphs":
        for more in (-1, 0, 1):
            number = max(1, int(given["num_paragraphs"]) + more)
            yield "\n\n***\n\n".join(rng.choice(lines) for _ in range(number))
    elif rule.kind.startswith("change_case"):
        yield text.upper()
        yield text.lower()
    elif rule.kind == "punctuation:no_comma":
        yield text.replace(",", "")
    elif rule.kind.startswith("length_constraints"):
        wanted = int(given.get("num_words") or given.get("num_sentences"))
        unit = text.split() if "num_words" in given else lines
        for share in (0.5, 0.8, 1.2, 2.0):
            number = max(1, int(wanted * share))
            yield " ".join((unit * (number // max(1, len(unit)) + 1))[:number])


def pairs(folder: Path, drawn: int = DRAWN) -> Iterator[Pair]:
    """Every rule on a draw of natural replies and on replies edited for it."""
    rng = random.Random(SEED)
    texts = natural(folder, rng)
    for rule in rules(folder):
        checks = OURS[rule.kind](rule.given)
        for reply in (*rng.sample(texts, drawn), *edited(rule, texts, rng)):
            ours = all(run_check(check, reply).passed for check in checks)
            yield Pair(rule, reply, ours, _theirs(rule, reply))


def cause(pair: Pair) -> str:
    """Why the two differ on a pair, found by taking the cause away and asking theirs again; "" where it is not known."""
    edits = {
        "change_case": ("a language that short text hides", None),
        "length_constraints:number_words": ("signs inside a word", lambda text: " ".join("w" for _ in words(text))),
        "length_constraints:number_sentences": ("list numbers, abbreviations, blank lines", _plain_ends),
    }
    for kind, (name, edit) in edits.items():
        if not pair.rule.kind.startswith(kind):
            continue
        if edit is None:
            import langdetect

            return name if langdetect.detect(pair.reply) != "en" else ""
        return name if _theirs(pair.rule, edit(pair.reply)) == pair.ours else ""
    return ""


def _plain_ends(text: str) -> str:
    """As many sentences as we count, with one mark at the end of each and no other."""
    return " ".join("A sentence stood here." for _ in sentences(text))


def _theirs(rule: Rule, reply: str) -> bool:
    meta = {"prompt": rule.prompt, "instruction_id_list": [rule.kind], "kwargs": [rule.given]}
    example = Example(rule.key, (Message("user", rule.prompt), Message("assistant", "")), "ifeval", meta=meta)
    return verdicts(example, reply, loose=False)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few replies for each rule; nothing is claimed")
    parser.add_argument("--show", type=int, default=0, help="so many disagreements of each kind, in full")
    given = parser.parse_args()
    folder = os.environ.get("HEED_PUBLIC_DATA")
    if not folder:
        sys.exit("HEED_PUBLIC_DATA names no folder")
    began = time.perf_counter()
    found = list(pairs(Path(folder), 2 if given.quick else DRAWN))
    unlike = [pair for pair in found if pair.ours != pair.theirs]
    total, wrong = Counter(pair.rule.kind for pair in found), Counter(pair.rule.kind for pair in unlike)
    kept = Counter(pair.rule.kind for pair in found if pair.theirs)
    print(common.table(("kind", "pairs", "kept", "differ"), [(k, total[k], kept[k], wrong[k]) for k in OURS]))
    causes = Counter((pair.rule.kind, cause(pair)) for pair in unlike)
    for (kind, why), count in causes.most_common():
        print(f"{count:>4}  {kind}: {why or 'NOT KNOWN'}")
    for kind in OURS:
        for pair in [pair for pair in unlike if pair.rule.kind == kind][: given.show]:
            print(f"\n{kind} {dict(pair.rule.given)}: ours {pair.ours}, theirs {pair.theirs}\n{pair.reply}")
    result = {
        "agreement": round(1 - len(unlike) / len(found), 5),
        "pairs": len(found),
        "differ": len(unlike),
        "unexplained": sum(count for (_, why), count in causes.items() if not why),
        "kinds": len(total),
        "stand_in_sentences": stands_in(),
    }
    common.finish("ifeval_agreement", result, began=began, threads=1, smoke=given.quick)


if __name__ == "__main__":
    main()
