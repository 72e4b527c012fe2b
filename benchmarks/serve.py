#!/usr/bin/env python
"""Serving: `heed serve` against `transformers serve --continuous-batching`, and against `generate` for one client.

Both servers hold the same random weights in fp32, are started in turn in processes of their own with the same number of
threads, and stream answers of exactly 64 new tokens to 1, 8 and 32 clients. --soak leaves 32 clients at work on heed's
server for three minutes: some hang up, some send garbage, and every greedy answer is compared with the one that the model
gives without a server.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import common
import rows
from common import Failed, say
from serve_load import Asked, Soaked, load, resident, soak

from heedlm.tokens.tokenizer import load_tokenizer

NEW_TOKENS = 64
CLIENTS = (1, 8, 32)
NEAR_TIE = 1e-3  # nats: two tokens as close as this may change places by rounding, as in any batched server
FLAT = 0.05  # growth of memory, from the second third of a soak to the last, that counts as none
START_LIMIT = 300.0  # seconds for a server to answer


class Size(NamedTuple):
    """requests: of all clients together, by their number.   soak: seconds; soak_clients at once, on so many different requests."""

    shape: str
    runs: int
    requests: Mapping[int, int]
    new_tokens: int
    soak: float
    soak_clients: int
    pool: int


WHOLE = Size("10m", 3, {1: 12, 8: 48, 32: 96}, NEW_TOKENS, 180.0, 32, 48)  # 25M parameters with the embedding
SMOKE = Size("tiny", 1, {1: 1, 8: 8, 32: 32}, 8, 4.0, 6, 6)


def served_folder(shape: str) -> Path:
    """A model with a chat template that says something else to every question, and never ends by itself.

    Fresh weights repeat the last token whatever was asked, and no mixing of rows would show: the layers get matrices that
    outweigh the embedding. The rows of the end token, and of ids that have no text, are zero, and any other beats them.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from heedlm.templates.chat import load_template

    plain = rows.model_folder(shape)
    folder = plain.with_name(f"{plain.name}-answering")
    if (folder / "done").is_file():
        return folder
    tokenizer = load_tokenizer(plain)
    tokenizer.chat_template = load_template("human_assistant", tokenizer).source
    model = AutoModelForCausalLM.from_pretrained(plain)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in (weight for weight in model.model.layers.parameters() if weight.dim() == 2):
            weight.copy_(torch.randn(weight.shape, generator=generator) * 2 / weight.shape[1] ** 0.5)
        head = model.get_output_embeddings().weight
        head[tokenizer.eos_token_id] = 0
        head[len(tokenizer) :] = 0
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "done").touch()
    return folder


def requests(number: int, tokens: int, seed: int, long_ones: int = 0) -> list[Asked]:
    """Different questions of 10 to 60 words.   long_ones: every so many'th has 400 to 900; 0 for none."""
    chance = random.Random(seed)
    words = (
        "river",
        "market",
        "letter",
        "window",
        "garden",
        "winter",
        "engine",
        "colour",
        "doctor",
        "island",
        "silver",
        "bridge",
        "teacher",
        "number",
    )
    return [
        Asked(f"Question {at}: " + " ".join(chance.choices(words, k=size)) + "?", tokens)
        for at in range(number)
        for size in [chance.randrange(400, 901) if long_ones and at % long_ones == 0 else chance.randrange(10, 61)]
    ]


class Server(NamedTuple):
    port: int
    pid: int
    startup: float
    model: str


@contextmanager
def server(side: str, folder: Path, threads: int) -> Iterator[Server]:
    """A server in a process of its own, from the moment it answers until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if side == "heed":
        command = [str(Path(sys.executable).with_name("heed")), "serve", str(folder), "--port", str(port), "--quiet"]
        health, model = "/health", folder.name
    else:
        python = common.peer_python("transformers")
        command = [str(python.with_name("transformers")), "serve", str(folder), "--continuous-batching"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        health, model = "/health", str(folder)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    work = common.BENCH / "work" / f"serve-{side}"
    work.mkdir(parents=True, exist_ok=True)
    log = work / "log.txt"
    with log.open("w") as file:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=work)
    try:
        while not _answers(port, health):
            if process.poll() is not None or time.perf_counter() - began > START_LIMIT:
                raise Failed(f"{side} did not start ({log}):\n" + "\n".join(log.read_text().splitlines()[-15:]))
            time.sleep(0.02)
        yield Server(port, process.pid, time.perf_counter() - began, model)
        if process.poll() is not None:
            raise Failed(f"{side} ended with {process.returncode} while it served ({log})")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            return line.recv(12).endswith(b"200")
    except OSError:
        return False


def measure_side(side: str, folder: Path, size: Size, threads: int, seed: int) -> dict[str, Any]:
    """Tokens per second and seconds to the first token by the number of clients, peak memory, start-up."""
    found: dict[str, Any] = {"speed": {}, "first": {}}
    with server(side, folder, threads) as running:
        found["startup"] = running.startup
        load(running.port, running.model, 2, requests(4, size.new_tokens, seed + 999))  # what is done once is done now
        for clients in CLIENTS:
            asked = requests(size.requests[clients], size.new_tokens, seed + clients)
            answers, seconds = load(running.port, running.model, clients, asked)
            for answer in answers:
                if answer.problem or answer.tokens != size.new_tokens:
                    raise Failed(f"{side}: {answer.tokens} tokens instead of {size.new_tokens}; {answer.problem}")
            found["speed"][clients] = sum(answer.tokens for answer in answers) / seconds
            found["first"][clients] = statistics.median(answer.first for answer in answers)
        found["memory"] = resident(running.pid, "VmHWM")
    say(f"  {side}: " + ", ".join(f"{n} clients {found['speed'][n]:.0f} tokens/s" for n in CLIENTS))
    return found


def generate_speed(folder: Path, size: Size, threads: int, seed: int) -> float:
    """Tokens per second of `generate`, one after the other the prompts that a single client sends."""
    asked = [one.text for one in requests(size.requests[1], size.new_tokens, seed + 1)]
    spec = {"model": str(folder), "prompts": asked, "new_tokens": size.new_tokens}
    report = common.run_worker(Path(sys.executable), "generate_worker.py", spec, threads=threads, name="generate")
    return float(report["tokens"]) / float(report["seconds"])


def expected(folder: Path, pool: Sequence[Asked]) -> dict[Asked, Any]:
    """What the model answers to each request without a server, each alone."""
    from heedlm.generate.chat import load_chat
    from heedlm.messages import Message, Request, Sampling

    chat = load_chat(folder)
    replies = {
        one: chat.reply([Request((Message("user", one.text),))], Sampling(max_tokens=one.tokens, top_logprobs=2))[0]
        for one in pool
    }
    if len({reply.text[:8] for reply in replies.values()}) < len(pool) / 2:
        raise Failed("the model says the same to many questions: answers that are mixed up would not be seen")
    return replies


def wrong_answers(folder: Path, seen: Soaked, right: dict[Asked, Any]) -> tuple[int, int]:
    """Answers that differ from the model's own: at a place where two tokens were not near each other, and where they were."""
    from heedlm.serve.pieces import token_pieces

    tokenizer = load_tokenizer(folder)
    wrong = ties = 0
    for asked, answer in seen.answers:
        reply = right[asked]
        if answer.problem or answer.text == reply.text:
            continue
        pairs = enumerate(zip(answer.text, reply.text, strict=False))
        same = next((place for place, (a, b) in pairs if a != b), min(len(answer.text), len(reply.text)))
        ends = itertools.accumulate(map(len, token_pieces(tokenizer, reply.ids)))
        at = next((place for place, end in enumerate(ends) if end > same), len(reply.ids) - 1)
        # The token that parted them may have shown its text later, with the rest of a character.
        gaps = [best[0][1] - best[1][1] for best in reply.alternatives[max(0, at - 3) : at + 1]]
        if min(gaps, default=1.0) < NEAR_TIE:
            ties += 1
        else:
            wrong += 1
    return wrong, ties


def memory_of(resident_bytes: Sequence[int]) -> tuple[int, int]:
    """The most that was resident in the second and in the last third of the time; the first third is for filling up."""
    third = max(1, len(resident_bytes) // 3)
    return max(resident_bytes[third : 2 * third] or resident_bytes), max(resident_bytes[2 * third :] or resident_bytes)


def measure_soak(folder: Path, size: Size, threads: int, seed: int) -> dict[str, Any]:
    chance = random.Random(seed)
    pool = [
        Asked(one.text, chance.choice((4, 16, 32, 64, 96))) for one in requests(size.pool, 0, seed + 7, long_ones=8)
    ]
    say(
        f"soak: {size.soak_clients} clients for {size.soak:.0f} s; {len(pool)} requests are answered without a server first"
    )
    right = expected(folder, pool)
    with server("heed", folder, threads) as running:
        seen = soak(running.port, running.model, running.pid, size.soak_clients, size.soak, pool, seed)
        alive = _answers(running.port, "/health")
    if not seen.answers or not all(seen.rss):
        raise Failed(f"the soak saw {len(seen.answers)} answers, and the server alive: {all(seen.rss)}")
    wrong, ties = wrong_answers(folder, seen, right)
    early, late = memory_of(seen.rss)
    for problem in seen.problems[:5]:
        say(f"  {problem}")
    return {
        "soak_crashes": len(seen.problems) + (0 if alive else 1),
        "soak_wrong": wrong,
        "soak_near_ties": ties,
        "soak_answers": len(seen.answers),
        "soak_left": seen.left,
        "soak_garbage": seen.refused,
        "soak_memory_growth": round(late / early - 1, 4),
        "soak_memory_flat": late / early - 1 <= FLAT,
        "soak_memory_mb": round(late / 2**20),
        "soak_seconds": size.soak,
    }


def measure(size: Size, threads: int, seed: int) -> dict[str, Any]:
    folder = served_folder(size.shape)
    sides: dict[str, list[dict[str, Any]]] = {"heed": [], "transformers": []}
    alone: list[float] = []
    for number in range(size.runs):
        say(f"run {number + 1}")
        for side in sorted(sides, reverse=bool(number % 2)):
            sides[side].append(measure_side(side, folder, size, threads, seed))
        alone.append(generate_speed(folder, size, threads, seed))
    middle = {
        side: {
            "speed": {n: statistics.median(run["speed"][n] for run in found) for n in CLIENTS},
            "first": {n: statistics.median(run["first"][n] for run in found) for n in CLIENTS},
            "memory": statistics.median(run["memory"] for run in found),
            "startup": statistics.median(run["startup"] for run in found),
        }
        for side, found in sides.items()
    }
    ours, theirs, generate = middle["heed"], middle["transformers"], statistics.median(alone)
    lines = [
        (
            side,
            *(f"{one['speed'][n]:.0f}" for n in CLIENTS),
            f"{one['first'][8]:.3f}",
            f"{one['memory'] / 2**20:.0f}",
            f"{one['startup']:.1f}",
        )
        for side, one in middle.items()
    ]
    print(common.table(("side", *(f"tokens/s {n}" for n in CLIENTS), "first of 8, s", "peak MB", "start, s"), lines))
    print(f"generate, one prompt after the other: {generate:.0f} tokens/s")
    return {
        "ratio_8": round(ours["speed"][8] / theirs["speed"][8], 3),
        "ratio_32": round(ours["speed"][32] / theirs["speed"][32], 3),
        "ratio_1_vs_generate": round(ours["speed"][1] / generate, 3),
        "first_token_ratio_8": round(ours["first"][8] / theirs["first"][8], 3),
        "memory_ratio": round(ours["memory"] / theirs["memory"], 3),
        "startup_seconds": round(ours["startup"], 2),
        "runs": size.runs,
        "tokens_per_second": {
            side: {str(n): round(one["speed"][n], 1) for n in CLIENTS} for side, one in middle.items()
        },
        "generate_tokens_per_second": round(generate, 1),
        "first_token_seconds": {
            side: {str(n): round(one["first"][n], 4) for n in CLIENTS} for side, one in middle.items()
        },
        "peak_mb": {side: round(one["memory"] / 2**20) for side, one in middle.items()},
        "theirs_startup_seconds": round(theirs["startup"], 2),
        "ratio_8_of_runs": [round(a["speed"][8] / b["speed"][8], 3) for a, b in zip(*sides.values(), strict=True)],
        "ratio_32_of_runs": [round(a["speed"][32] / b["speed"][32], 3) for a, b in zip(*sides.values(), strict=True)],
        "shape": size.shape,
        "new_tokens": size.new_tokens,
        "peers": {"transformers": _version()},
    }


def _version() -> str:
    python = common.peer_python("transformers")
    done = subprocess.run(
        [str(python), "-m", "pip", "show", "transformers"], capture_output=True, text=True, check=False
    )
    return next((line.split()[1] for line in done.stdout.splitlines() if line.startswith("Version")), "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--soak", action="store_true", help="three minutes of clients that come, go and send garbage, as well"
    )
    parser.add_argument("--only-soak", action="store_true", help="nothing but the soak; needs no peer")
    parser.add_argument("--quick", action="store_true", help="smoke run on a tiny model; nothing is claimed")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, help="runs of each side (default 3)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    size = SMOKE if given.quick else WHOLE
    size = size._replace(runs=given.runs or size.runs)
    try:
        result: dict[str, Any] = {} if given.only_soak else measure(size, given.threads, given.seed)
        if given.soak or given.only_soak:
            result |= measure_soak(served_folder(size.shape), size, given.threads, given.seed)
            say(json.dumps({key: value for key, value in result.items() if key.startswith("soak")}))
    except Failed as failure:
        say(f"FAILED: {failure}")
        return 1
    common.finish("serve", result, began=began, threads=given.threads, smoke=given.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
