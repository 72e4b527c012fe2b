"""The house of measurement: workers in processes of their own, the machine's ceiling, and the line that is kept."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from transformers import LlamaConfig

ROOT = Path(__file__).resolve().parents[1]
BENCH = Path(os.environ.get("HEED_BENCH_FOLDER", ROOT / ".bench"))
PEERS = Path(__file__).resolve().parent / "peers"
RESULTS = Path(__file__).resolve().parent / "results"
WORKER_LIMIT = 3600  # seconds; a worker that takes longer has hung


class Failed(Exception):
    """The benchmark cannot say what it is for: a peer is missing, or a side did not learn what the other learned."""


class Shape(NamedTuple):
    """A Llama-shaped decoder with random weights."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    tied: bool = True

    def config(self, eos_token_id: int | None = None) -> LlamaConfig:
        """The configuration of such a model; it has no other control tokens."""
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=self.vocab,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=4096,
            tie_word_embeddings=self.tied,
            bos_token_id=None,
            eos_token_id=eos_token_id,
            pad_token_id=None,
        )

    @property
    def layer_parameters(self) -> int:
        """All that is not embedding or head; the gains of the norms (under 0.1 %) left out."""
        head = self.hidden // self.heads
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * head * self.kv_heads
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def parameters(self) -> int:
        return self.layer_parameters + self.vocab * self.hidden * (1 if self.tied else 2)


SHAPES = {
    "tiny": Shape(2, 64, 4, 2, 128, 50_257),
    "tiny-151k": Shape(2, 64, 4, 2, 128, 151_936),
    "10m": Shape(8, 320, 5, 1, 864, 50_257),
    "30m": Shape(16, 384, 6, 2, 1024, 50_257),
    "60m": Shape(20, 512, 8, 2, 1408, 50_257),
    "135m": Shape(30, 576, 9, 3, 1536, 50_257),
    "270m": Shape(32, 768, 12, 4, 2048, 50_257),
    "0.5b": Shape(24, 896, 14, 2, 4864, 151_936),
    "1.5b": Shape(28, 1536, 12, 2, 8960, 151_936),
    "8b": Shape(32, 4096, 32, 8, 14_336, 128_256, tied=False),
}


def needed_flops(shape: Shape, lengths: Sequence[int], learned: int, trained: float = 1.0) -> float:
    """Operations that a training step over these documents cannot do without, forward and backward.

    6 per parameter of the layers and token; the products of queries with keys and of weights with values, over the causal
    half inside each document; 6 per parameter of the head and *learned* token. Embedding rows are read, not multiplied.
    trained: 1 where all weights are; LoRA needs no gradients of the frozen weights, 4 instead of 6 (the adapters' own
    work, about 1 %, left out).
    """
    per_weight = 2 + 2 + 2 * trained
    pairs = sum(n * (n + 1) / 2 for n in lengths)
    layers = per_weight * shape.layer_parameters * sum(lengths)
    attention = 3 * 2 * 2 * pairs * shape.hidden * shape.layers
    return layers + attention + per_weight * shape.vocab * shape.hidden * learned


def matrix_ceiling(threads: int, device: str = "cpu") -> dict[str, float]:
    """FLOP/s of square products, the best of 1024, 1536 and 2048 (on a GPU 4096 and 8192), in a process of its own."""
    spec = {"device": device, "threads": threads}
    report = run_worker(Path(sys.executable), "ceiling_worker.py", spec, threads=threads, name="ceiling")
    return {key: float(value) for key, value in report["flops"].items()}


def peer_python(name: str) -> Path:
    """The python of a peer's environment; HEED_PEER_NAME names another one. Raises Failed where there is none."""
    given = os.environ.get(f"HEED_PEER_{name.upper()}")
    path = Path(given) if given else BENCH / name / "bin" / "python"
    if not path.exists():
        raise Failed(f"{name} is not installed at {path}: run `make bench-setup`")
    return path


def run_worker(python: Path, script: str, spec: Mapping[str, Any], *, threads: int, name: str) -> dict[str, Any]:
    """Run `peers/script` with a specification and return its report. Raises Failed with the end of what it printed."""
    folder = BENCH / "work" / name
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "report.json"
    out.unlink(missing_ok=True)
    full = {"work": str(folder / "files"), "out": str(out), "threads": threads, **spec}
    (folder / "spec.json").write_text(json.dumps(full), "utf8")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "WANDB_DISABLED": "true",
        "PYTHONUNBUFFERED": "1",
    }
    log = folder / "log.txt"
    with log.open("w") as file:
        try:
            done = subprocess.run(
                [str(python), str(PEERS / script), str(folder / "spec.json")],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
                timeout=WORKER_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{script} took more than {WORKER_LIMIT} seconds ({log})") from None
    if done.returncode != 0 or not out.is_file():
        tail = "\n".join(log.read_text("utf8", "replace").splitlines()[-15:])
        raise Failed(f"{script} ended with {done.returncode} ({log}):\n{tail}")
    report: dict[str, Any] = json.loads(out.read_text("utf8"))
    return report


def tokens_per_second(report: Mapping[str, Any], warm: int) -> float:
    """Real tokens per second of the steps after the first `warm`."""
    steps = report["steps"][warm:]
    if not steps:
        raise Failed(f"there are {len(report['steps'])} steps, and the first {warm} are not counted")
    return sum(step["tokens"] for step in steps) / sum(step["seconds"] for step in steps)


def check_learns(name: str, report: Mapping[str, Any]) -> None:
    """Raises Failed where a side's gradients are zero or not finite, or nothing is learned: its speed would mean nothing."""
    for number, step in enumerate(report["steps"]):
        norm = step.get("grad_norm")
        if norm is None or not math.isfinite(norm) or norm <= 0:
            raise Failed(f"{name}: the gradient norm of step {number} is {norm}")
        if step["learned"] <= 0:
            raise Failed(f"{name}: step {number} learned from no token")


def check_same_rows(name: str, report: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises Failed where a side made other tokens of the rows, or learns others of them."""
    found = report["dataset"]
    if found != wanted:
        raise Failed(f"{name} does not learn the same tokens: {found}, wanted {dict(wanted)}")


def worker_digest(sequences: Iterable[tuple[Sequence[int], Sequence[bool]]]) -> dict[str, Any]:
    """The digest that workers make of the rows that a tool learns (peers/meter.py)."""
    if str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))
    from meter import digest

    found: dict[str, Any] = digest(sequences)
    return found


def median_and_spread(values: Iterable[float]) -> tuple[float, float]:
    """The median, and the distance of the farthest value from it as a share of it."""
    held = list(values)
    middle = statistics.median(held)
    return middle, max(abs(value - middle) for value in held) / middle


def machine(threads: int) -> dict[str, Any]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in _lines(Path("/proc/cpuinfo"))
            if line.startswith(("model name", "CPU part"))
        ),
        platform.processor(),
    )
    memory = next((int(line.split()[1]) for line in _lines(Path("/proc/meminfo")) if line.startswith("MemTotal")), 0)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(memory / 2**20, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


def commit() -> str:
    """The commit of this checkout, with a mark where files were changed since; empty outside a checkout."""
    try:
        head = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(ROOT), "status", "--porcelain", "--", "src", "benchmarks/*.py"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}+changes" if changed else head


def sha(paths: Iterable[Path]) -> str:
    """One hash over the bytes of files: which rows were used."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def say(line: str) -> None:
    """Progress, on standard error: standard output ends with the result."""
    print(line, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def finish(name: str, result: Mapping[str, Any], *, began: float, threads: int, smoke: bool) -> None:
    """Keep the result with commit, machine and time, and print it as the last line.

    A smoke run proves that a benchmark works and measures nothing: it is kept in .bench, not among the results.
    """
    line = {
        "benchmark": name,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "smoke": smoke,
        "machine": machine(threads),
        **result,
        "seconds": round(time.perf_counter() - began, 1),
    }
    folder = BENCH / "smoke" if smoke else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(line, ensure_ascii=False)
    with (folder / f"{name}.jsonl").open("a", encoding="utf8") as file:
        file.write(text + "\n")
    print(text, flush=True)
