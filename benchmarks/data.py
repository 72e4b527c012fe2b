"""What preparing data costs, and how much of what was planted it finds.

    .venv/bin/python benchmarks/data.py              100,000 rows and 1,000,000 rows
    .venv/bin/python benchmarks/data.py --quick      a smoke run of 2,000 rows

Each measurement is a process of its own, so that its peak memory is its own. Against datatrove stands all of `prepare` on
the same rows (its four MinHash stages do a part of that), against TRL template, tokens, proof and packing (it has no
proof); a peer that is not installed is left out. kept_error compares with an exact answer
that is computed here from the texts, without the search that heed uses, on the first rows of the file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import common
from common import BENCH, Failed, say
from data_rows import Made, write
from rows import TEMPLATE, model_folder, tokenizer_folder

from heedlm.data.words import facts, words

SIMILARITY = 0.8
CREW = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
EXACT_ROWS = 8000  # of which the exact answer is computed
PEER_ROWS = 10_000  # on which peers are measured
SAMPLED = 0.1  # seconds between two looks at how much memory all processes of a measurement hold
SHARE_BLOCK = 1000  # rows that `encode_batch` and heed take in turns


def worker(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Prepare a file, and tokenise it where asked to, as `heed train` would; seconds and peak memory of each."""
    from heedlm import api

    began, cpu = time.perf_counter(), sum(os.times()[:4])  # processor seconds, of ended children too
    settings = {
        "data.decontaminate": [spec["items"]],
        "data.near_duplicates": spec["near_duplicates"],
        "data.val": 0.02,
        "data.test": 0.02,
    }
    report = api.prepare(run=spec["run"], data=spec["rows"], settings=settings)
    done = {
        "prepare_seconds": time.perf_counter() - began,
        "prepare_cpu": sum(os.times()[:4]) - cpu,
        "kept": report.kept,
        "dropped": dict(report.dropped),
        "proof": report.proof._asdict(),
    }
    if spec["tokenise"]:
        done |= _tokenise(Path(spec["run"]))
    seconds = time.perf_counter() - began
    return {**done, "seconds": seconds, "own_peak": _held(os.getpid(), "VmHWM")}


def versus_peers(made: Made, threads: int, runs: int) -> dict[str, Any]:
    """Seconds of a peer over seconds of heed, medians, on the first rows of the file."""
    folder = BENCH / "work" / "data" / "peers"
    (folder / "texts").mkdir(parents=True, exist_ok=True)
    with made.rows.open("rb") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(PEER_ROWS), strict=False)]
    asked = ["\n\n".join(part for part in (row["instruction"], row["input"]) if part) for row in rows]
    chats, part = folder / "chats.jsonl", folder / "rows.jsonl"
    part.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf8")
    with chats.open("w", encoding="utf8") as file_of_chats:
        for question, row in zip(asked, rows, strict=True):
            turns = {"prompt": [{"role": "user", "content": question}]}
            file_of_chats.write(
                json.dumps({**turns, "completion": [{"role": "assistant", "content": row["output"]}]}) + "\n"
            )
    for number in range(threads):
        texts = [
            json.dumps({"id": str(place), "text": f"{question}\n{row['output']}"}) + "\n"
            for place, (question, row) in enumerate(zip(asked, rows, strict=True))
            if place % threads == number
        ]
        (folder / "texts" / f"{number}.jsonl").write_text("".join(texts), "utf8")
    specs = {
        "datatrove": ("datatrove_worker.py", {"texts": str(folder / "texts")}, "prepare_seconds"),
        "trl": ("trl_prepare_worker.py", {"model": str(_templated()), "chats": str(chats)}, "tokenise_seconds"),
    }
    taken: dict[str, list[float]] = {}
    reports: dict[str, Any] = {}
    for _ in range(runs):  # in turns: a slow minute of the machine meets everybody
        _, ours = run(made._replace(rows=part), "ours", tokenise=True)
        for peer, (script, spec, part_of_ours) in specs.items():
            taken.setdefault(part_of_ours, []).append(ours[part_of_ours])
            shutil.rmtree(BENCH / "work" / f"data-{peer}", ignore_errors=True)
            try:
                report = common.run_worker(common.peer_python(peer), script, spec, threads=threads, name=f"data-{peer}")
            except Failed as error:
                say(f"{peer} is left out: {error}")
                continue
            taken.setdefault(peer, []).append(report["seconds"])
            reports[f"{peer}_report"] = report
    ratios: dict[str, Any] = {}
    for peer, (_, _, part_of_ours) in specs.items():
        theirs, heed = (median(taken[name]) if taken.get(name) else None for name in (peer, part_of_ours))
        ratios[f"ratio_vs_{peer}"] = round(theirs / heed, 2) if theirs and heed else None
        say(f"{peer}: {taken.get(peer)} s, heed {taken[part_of_ours]} s")
    return ratios | reports


def _templated() -> Path:
    """A tiny model whose tokenizer has the chat template that heed renders with."""
    from heedlm.templates.chat import load_template
    from heedlm.tokens.tokenizer import load_tokenizer

    folder = model_folder("tiny")
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = load_template(TEMPLATE, tokenizer).source
    target = BENCH / "models" / "tiny-templated"
    shutil.copytree(folder, target, dirs_exist_ok=True)
    tokenizer.save_pretrained(target)
    return target


def _tokenise(run: Path) -> dict[str, Any]:
    """The token store of the splits, every row proved, and its rows packed."""
    from heedlm.data.store import read_split
    from heedlm.templates.chat import load_template
    from heedlm.tokens.pack import best_fit_rows
    from heedlm.tokens.store import open_split
    from heedlm.tokens.tokenise import Limits, tokenise
    from heedlm.tokens.tokenizer import load_tokenizer

    splits = {name: list(read_split(run / "data" / f"{name}.jsonl")) for name in ("train", "val")}
    tokenizer = load_tokenizer(tokenizer_folder())
    template = load_template(TEMPLATE, tokenizer)
    began = time.perf_counter()
    cpu = time.process_time()
    tokenise(run / "tokens", template, tokenizer, splits, [], Limits(2048, "drop", True, 0.0, 0), lambda line: None)
    sequences = open_split(run / "tokens", "train")
    assert sequences is not None
    best_fit_rows([len(sequence.ids) for sequence in sequences], 2048)
    taken, spent = time.perf_counter() - began, time.process_time() - cpu
    return {"tokenise_seconds": taken, "tokenise_cpu": spent}


def shares(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What `encode_batch` alone takes of the rendered text, over what heed takes; one thread for both, in turns.

    rendered: ids, spans and weights of what is rendered.   proved: with the proof, which renders and encodes every prompt
    again and decodes every answer.   from_rows: with rendering as well, without the proof.
    """
    from itertools import islice

    from heedlm.data.store import read_split
    from heedlm.templates.chat import load_template, plain, segments
    from heedlm.tokens.encode import encode_segments
    from heedlm.tokens.proof import prove, require
    from heedlm.tokens.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder())
    template = load_template(TEMPLATE, tokenizer)
    rows = iter(read_split(Path(spec["run"]) / "data" / "train.jsonl"))
    spent: Counter[str] = Counter()
    while examples := list(islice(rows, SHARE_BLOCK)):
        began = time.perf_counter()
        sequences = [segments(template, tokenizer, example) for example in examples]
        spent["render"] += time.perf_counter() - began
        flat = [sequence for group in sequences for sequence in group]
        texts = [plain("".join(part.text for part in sequence)) for sequence in flat]
        began = time.perf_counter()
        tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
        spent["alone"] += time.perf_counter() - began
        began = time.perf_counter()
        encoded = iter(encode_segments(tokenizer, flat))
        spent["encode"] += time.perf_counter() - began
        groups = [[one for _ in group for one in next(encoded)] for group in sequences]
        began = time.perf_counter()
        require(prove(template, tokenizer, examples, groups))
        spent["prove"] += time.perf_counter() - began
    return {
        "rendered": spent["alone"] / spent["encode"],
        "proved": spent["alone"] / (spent["encode"] + spent["prove"]),
        "from_rows": spent["alone"] / (spent["encode"] + spent["render"]),
    }


def _resident(process: int) -> int:
    """Bytes of a process and of all that it started, what they share counted for each; 0 where that cannot be read."""
    try:
        started = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return 0
    return _held(process, "VmRSS") + sum(_resident(int(child)) for child in started)


def _held(process: int, what: str) -> int:
    """Bytes that a process holds (VmRSS), or held at most (VmHWM)."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(what)), 0)


def run(made: Made, name: str, *, tokenise: bool, near_duplicates: str = "drop") -> tuple[Path, dict[str, Any]]:
    """One worker in a process of its own."""
    folder = BENCH / "work" / "data" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = {"rows": str(made.rows), "items": str(made.items), "run": str(folder / "run"), "tokenise": tokenise}
    report = _worker({**spec, "near_duplicates": near_duplicates}, name)
    say(
        f"{name}: {report['seconds']:.1f} s ({report['prepare_cpu']:.1f} s CPU to prepare), peak {report['peak'] / 1e6:,.0f} MB"
    )
    return folder / "run" / "data", report


def _worker(spec: Mapping[str, Any], name: str, threads: int | None = None) -> dict[str, Any]:
    """What a process of its own reports. Raises Failed with the end of what it said."""
    environment = {**os.environ, **({"RAYON_NUM_THREADS": str(threads)} if threads else {})}
    command = [sys.executable, __file__, "--worker", json.dumps(spec)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, **pipes)
    peak = 0
    while True:
        peak = max(peak, _resident(process.pid))
        with contextlib.suppress(subprocess.TimeoutExpired):
            out, err = process.communicate(timeout=SAMPLED)
            break
    if process.returncode:
        raise Failed(f"{name} ended with {process.returncode}:\n{err[-3000:]}")
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    return {**report, "peak": max(peak, report.get("own_peak", 0))}


def found(made: Made, data: Path) -> dict[str, Any]:
    """How much of what was planted was found, and what was dropped that should not have been."""
    rows = [json.loads(line) for line in made.rows.read_text("utf8").splitlines()]
    place = {f"{made.rows}:{number + 1}": row for number, row in enumerate(rows)}
    reasons: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for line in (data / "dropped.jsonl").read_text("utf8").splitlines():
        entry = json.loads(line)
        reasons[entry["where"]] = entry["reason"]
        if entry["reason"] == "near-duplicate":
            pairs.append((entry["where"], entry["what"].rpartition(" as ")[2]))
    based = {row["label"]["number"]: where for where, row in place.items() if row["label"]["kind"] == "base"}
    tally: Counter[str] = Counter()
    for where, row in place.items():
        kind, of = row["label"]["kind"], row["label"].get("of")
        reason = reasons.get(where, "")
        if kind in ("near", "copy"):
            tally[f"{kind} planted"] += 1
            tally[f"{kind} found"] += "duplicate" in reason or "duplicate" in reasons.get(based[of], "")
        elif kind in ("exact", "edit"):
            tally[f"{kind} planted"] += 1
            tally[f"{kind} found"] += reason == "contaminated"
        elif kind == "base":
            tally["false alarms"] += reason == "contaminated"
    kinds = {where: row["label"]["kind"] for where, row in place.items()}
    facts_lost = sum(kinds[one] != kinds[other] and "fact" in (kinds[one], kinds[other]) for one, other in pairs)
    wrong = sum(not alike(place[one], place[other]) for one, other in pairs)
    return {
        "planted_found": round(tally["near found"] / tally["near planted"], 4),
        "copies_found": round(tally["copy found"] / tally["copy planted"], 4),
        "wrong_pairs": wrong + facts_lost,
        "pairs": len(pairs),
        "contamination_exact": round(tally["exact found"] / tally["exact planted"], 4),
        "contamination_edit": round(tally["edit found"] / tally["edit planted"], 4),
        "contamination_false_alarms": tally["false alarms"],
    }


def _parts(row: Mapping[str, str]) -> tuple[list[str], list[str], frozenset[str], frozenset[str]]:
    question = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
    asked, answered = words(question), words(row["output"])
    return asked, answered, facts(question, asked), facts(row["output"], answered)


def _triples(found: Sequence[str]) -> list[tuple[str, ...]]:
    padded = [*found, "", ""]
    return [tuple(padded[place : place + 3]) for place in range(len(found))]


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows are near-duplicates, from the definition alone."""
    asked, answered, *told = _parts(one)
    there, said, *known = _parts(other)
    if told != known:
        return False
    if min(len(answered), len(said)) < 15:
        return asked == there and " ".join(one["output"].split()) == " ".join(other["output"].split())
    q, r, a, b = _triples(asked), _triples(there), set(_triples(answered)), set(_triples(said))
    common_q, common_a = len(set(q) & set(r)), len(a & b)
    whole = len(set(q) | set(r)) + len(a | b)
    if common_a < SIMILARITY * len(a | b) or common_q + common_a < SIMILARITY * whole:
        return False
    return max(_run(q, set(r)), _run(r, set(q))) <= 5


def _run(grams: Sequence[tuple[str, ...]], there: set[tuple[str, ...]]) -> int:
    longest = now = 0
    for gram in grams:
        now = 0 if gram in there else now + 1
        longest = max(longest, now)
    return longest


def exact_kept(rows: Sequence[Mapping[str, Any]]) -> int:
    """Rows that stay when every row is compared with every kept one before it that shares half of its sequences."""
    kept = 0
    having: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(rows):
        asked, answered, *_ = _parts(row)
        grams = {("asked", *gram) for gram in _triples(asked)} | {("answered", *gram) for gram in _triples(answered)}
        shared = Counter(other for gram in grams for other in having.get(gram, ()))
        if any(count >= len(grams) / 2 and alike(row, rows[other]) for other, count in shared.items()):
            continue
        kept += 1
        for gram in grams:
            having.setdefault(gram, []).append(number)
    return kept


def kept_error(made: Made, folder: Path, seed: int) -> tuple[float, Made]:
    """Distance of the rows that heed keeps from the exact answer, as a share of it, on the first rows of the file."""
    with made.rows.open("rb") as file:
        lines = [line for line, _ in zip(file, range(EXACT_ROWS), strict=False)]
    part = folder / "first.jsonl"
    part.write_bytes(b"".join(lines))
    nothing = folder / "nothing.jsonl"
    nothing.write_text(json.dumps({"question": "An item that stands in no row whatsoever, not even in part?"}) + "\n")
    first = made._replace(rows=part, items=nothing)
    _, report = run(first, "exact", tokenise=False)
    seen: set[tuple[str, ...]] = set()
    distinct = []
    for row in map(json.loads, lines):
        key = tuple(" ".join(row[name].split()) for name in ("instruction", "input", "output"))
        if key not in seen:
            seen.add(key)
            distinct.append(row)
    exact = exact_kept(distinct)
    kept = len(distinct) - report["dropped"].get("near-duplicate", 0)
    say(f"exact answer keeps {exact:,} of {len(distinct):,} distinct rows, heed {kept:,}")
    return round(abs(kept - exact) / exact, 6), first


def cross_split(first: Made) -> int:
    """Groups, prompts and near-duplicates on two sides, where near-duplicates are kept and grouped."""
    data, report = run(first, "grouped", tokenise=False, near_duplicates="flag")
    proof = report["proof"]
    sides: dict[int, set[str]] = {}
    for side in ("train", "val", "test"):
        for line in (data / f"{side}.jsonl").read_text("utf8").splitlines():
            label = json.loads(line)["meta"]["label"]
            if label["kind"] in ("base", "near", "copy"):
                sides.setdefault(label["number" if label["kind"] == "base" else "of"], set()).add(side)
    apart = sum(len(found) > 1 for found in sides.values())
    say(f"planted near-duplicates and what they were made of, on two sides: {apart}")
    return int(
        proof["groups_on_two_sides"] + proof["prompts_on_two_sides"] + proof["near_duplicates_on_two_sides"] + apart
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 rows: the figures mean nothing")
    parser.add_argument("--rows", type=int, default=100_000, help="fewer are a smoke run too")
    parser.add_argument("--most", type=int, default=1_000_000, help="rows of the second file; 0 leaves it out")
    parser.add_argument("--runs", type=int, default=3, help="against each peer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        spec = json.loads(options.worker)
        print(json.dumps(shares(spec) if spec.get("shares") else worker(spec)))
        return
    began = time.perf_counter()
    count, most = (2000, 0) if options.quick else (options.rows, options.most)
    folder = BENCH / "work" / "data"
    made = write(folder / str(count), count, options.seed)
    say(f"{count:,} rows from {made.source}, {made.distinct:.1%} distinct, {made.counts}")
    if made.distinct < 0.9:
        raise Failed(f"only {made.distinct:.1%} of the rows are distinct")
    tokenizer_folder()
    data, report = run(made, "whole", tokenise=True)
    result: dict[str, Any] = {
        f"seconds_{count // 1000}k": round(report["seconds"], 1),
        f"peak_bytes_{count // 1000}k": report["peak"],
    }
    result |= {
        name: round(report[name], 2) for name in ("prepare_seconds", "prepare_cpu", "tokenise_seconds", "tokenise_cpu")
    }
    share = _worker({"run": str(data.parent), "shares": True}, "shares", threads=1)
    result |= {
        "tokenise_share": round(share["rendered"], 3),
        "tokenise_share_with_proof": round(share["proved"], 3),
        "tokenise_share_from_rows": round(share["from_rows"], 3),
    }
    result |= found(made, data)
    result["kept_error"], first = kept_error(made, folder, options.seed)
    result["cross_split_groups"] = cross_split(first)
    result |= versus_peers(made, CREW, options.runs)
    if most:
        large = write(folder / str(most), most, options.seed)
        _, report = run(large, "most", tokenise=False)
        result |= {"peak_bytes_1m": report["peak"], "seconds_1m": round(report["seconds"], 1)}
    result |= {"rows": made.counts, "distinct": made.distinct, "rows_sha": made.sha, "source": made.source}
    result["runs"] = options.runs  # against the peers; the figures of 100,000 rows are of one run
    shown = [(name, value) for name, value in result.items() if not isinstance(value, dict)]
    print(common.table(("figure", "value"), shown))
    common.finish("data", result, began=began, threads=CREW, smoke=count < 100_000)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        say(str(error))
        raise SystemExit(1) from None
