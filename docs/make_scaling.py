"""Write docs/scaling.md: the arithmetic of tokens, bytes and hours, with its assumptions.

Run it after a change of an assumption:   .venv/bin/python docs/make_scaling.py
Measure two of them on your own rows:     .venv/bin/python docs/make_scaling.py --measure rows.jsonl path/to/model
tests/test_docs.py compares its output with the page.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

# Assumptions about rows.
TOKENS = 250  # per example, prompt and answer
TEXT_BYTES = 4.0  # UTF-8 bytes of text per token
ROW_SHARE = 1.3  # bytes of a prepared row per byte of its text: field names, quotes, source
# Read off heedlm.tokens.store: int32 id and float32 weight per token; int64 start and int32 row per sequence.
STORE_PER_TOKEN, STORE_PER_SEQUENCE = 8, 12
# Measured, docs/log.md 2026-11-20, the slower of two readings: one core of a busy machine, public rows.
PREPARED_PER_SECOND = 7_000  # rows
TOKENISED_PER_SECOND = 120_000  # tokens, proof included
HELD_PER_SEQUENCE, HELD_PER_TEXT_TOKEN = 24, 7  # bytes in memory while a split is tokenised: numbers, and the rows read
HEAD_PER_ROW = 700  # bytes in memory of the process that compares rows: 166 MB at 50,000 rows, 307 MB at 250,000
# Read off heedlm.train: fp32 weights, fp32 gradients, two fp32 moments of AdamW.
FULL_PER_PARAMETER = 4 + 4 + 8
FROZEN_PER_PARAMETER = 4
CHECKPOINT_PER_PARAMETER = 4 + 8
# Sustained work in FLOP/s, assumed: 40 % of about 0.8 TFLOP/s in bf16 on two CPU cores, and of about 800 on one GPU.
CPU, GPU = 0.3e12, 300e12

EXAMPLES = tuple(10**power for power in range(4, 10))
PARAMETERS = (0.1e9, 0.5e9, 1e9, 3e9, 8e9, 32e9, 70e9)
DEVICES = (2, 4, 8, 16)


def train_seconds(parameters: float, examples: int, rate: float) -> float:
    """One pass over the examples, all weights: 6 FLOP per parameter and token."""
    return 6 * parameters * examples * TOKENS / rate


def amount(value: float, units: Sequence[tuple[float, str]]) -> str:
    """Two digits and the largest unit that fits."""
    size, unit = next(((s, u) for s, u in units if value >= s), units[-1])
    number = value / size
    return f"{number:.1f} {unit}" if number < 10 else f"{float(f'{number:.2g}'):,.0f} {unit}"


def count_text(value: float) -> str:
    return amount(value, ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")))


def bytes_text(value: float) -> str:
    return amount(value, ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")))


def time_text(seconds: float) -> str:
    return amount(seconds, ((365.25 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min"), (1, "s")))


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "--:|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)])


def _power(examples: int) -> str:
    return f"10^{len(str(examples)) - 1}"


def _size(parameters: float) -> str:
    return f"{parameters / 1e9:g}B"


def rows_table() -> str:
    body = []
    for examples in EXAMPLES:
        tokens = examples * TOKENS
        text = tokens * TEXT_BYTES
        store = tokens * STORE_PER_TOKEN + examples * STORE_PER_SEQUENCE
        held = tokens * HELD_PER_TEXT_TOKEN + examples * HELD_PER_SEQUENCE
        body.append(
            (
                _power(examples),
                count_text(tokens),
                bytes_text(text),
                bytes_text(text * ROW_SHARE),
                bytes_text(store),
                time_text(examples / PREPARED_PER_SECOND),
                time_text(tokens / TOKENISED_PER_SECOND),
                bytes_text(examples * HEAD_PER_ROW),
                bytes_text(held),
            )
        )
    times, held = ("prepare", "tokenise and prove"), ("memory to prepare", "to tokenise")
    return _table(("examples", "tokens", "text", "prepared rows", "token store", *times, *held), body)


def models_table() -> str:
    body = [
        (
            _size(n),
            bytes_text(n * FULL_PER_PARAMETER),
            bytes_text(n * FROZEN_PER_PARAMETER),
            bytes_text(n * CHECKPOINT_PER_PARAMETER),
            bytes_text(n * 2),
        )
        for n in PARAMETERS
    ]
    return _table(("parameters", "full", "LoRA", "one checkpoint (full)", "result in bf16"), body)


def parts_table() -> str:
    body = [(_size(n), *(bytes_text(n * FULL_PER_PARAMETER / d) for d in DEVICES)) for n in PARAMETERS[2:]]
    return _table(("parameters", *(f"{d} devices" for d in DEVICES)), body)


def hours_table(rate: float, parameters: Sequence[float], examples: Sequence[int]) -> str:
    body = [(_size(n), *(time_text(train_seconds(n, e, rate)) for e in examples)) for n in parameters]
    return _table(("parameters", *(_power(e) for e in examples)), body)


PAGE = """# Scaling: tokens, bytes, hours

<!-- Written by docs/make_scaling.py: change the assumptions there, then run it again. -->

How large may the data and the model be, and what does it cost? The tables are arithmetic, not measurements, except where
it is said. Each line scales in proportion, so put in your own figures: twice the tokens per example is twice the hours.

## Assumptions

| what | value | where it comes from |
|---|--:|---|
| tokens per example, prompt and answer | {tokens} | assumed; `heed train` prints yours |
| bytes of text per token | {text_bytes:g} | assumed: English, a vocabulary of 32,000 or more |
| rows prepared per second, one core | {prepared:,} | measured on a busy machine, [log](log.md), 2026-11-20 |
| tokens rendered, encoded and proved per second, one core | {tokenised:,} | measured, the same entry |
| work per parameter and token, all weights | 6 FLOP | 2 forward, 4 backward; attention adds less than a tenth at this length |
| the same, LoRA | 4 FLOP | no gradients of the frozen weights |
| sustained work, two CPU cores with bf16 products | {cpu:g} TFLOP/s | assumed |
| sustained work, one GPU of the H200 class | {gpu:g} TFLOP/s | assumed; no figure in this repository was measured on a GPU |

Replace the last two by your own: a short run says how many tokens a second it made, and 6 x parameters x tokens per second
is the work that your machine sustains.

```bash
heed train --model path/to/model --data rows.jsonl --run runs/speed --set train.max_steps=20 --json
```

The measured ones on your own rows:

```bash
.venv/bin/python docs/make_scaling.py --measure rows.jsonl path/to/model
```

## Data

{rows}

*Memory to prepare* is what the process that compares rows adds for them, {head:,} bytes each ([log](log.md), 2026-11-20): keys,
places, lengths and near-duplicate candidates; the rows lie in a file, so their length does not matter. With
`--executor ray` the time is divided by the cores of the cluster, down to what the comparison and the writing take; the memory
stays in one place: 10^8 rows want one large machine, and 10^9 are cut by source, into runs whose rows are compared apart
([data](rooms/data.md#on-several-machines)). *To tokenise* is what the rows of all splits take, which are read whole;
sequences go to the disk a thousand rows at a time, and documents to replay are held until they are encoded. Training opens the
store memory-mapped and holds one step at a time.

## Memory of a model

{models}

*Full*: {full} bytes per parameter, for fp32 weights, their gradients and the two moments of AdamW. *LoRA*: {frozen} bytes per
parameter of the frozen model; the adapters come on top at {full} bytes each, and are few. Not counted: activations; the
copies of the weights that bf16 products make, 2 bytes per parameter. On disk two checkpoints are kept
(`train.keep_checkpoints`) and a third exists while it is written; the best weights so far lie beside them, at 4 bytes per
trainable parameter.

Activations grow with `train.micro_tokens`, and so do the scores over the vocabulary: learned tokens of one pass x vocabulary
x 4 bytes, several times over. With 4,096 tokens, half of them learned, and a vocabulary of 128,000, one copy is
{logits}. Lower `train.micro_tokens` first when memory runs out: it changes the result by rounding only.

## Several devices

With `train.parallel=fsdp` weights, gradients and optimiser state are cut into as many parts as there are devices; each
then holds, in training of all weights:

{parts}

On top come activations, and for the length of a micro-batch a layer or two and, whole and in fp32 with their gradients,
embedding and head. Main memory of a machine: 4 bytes per parameter for each of its processes while the model is loaded, 12
per trainable parameter for the first one while a checkpoint is written ([why](decisions/0011-one-format-of-checkpoints.md)).

## Hours: one pass over the data, all weights

`train.epochs` is 3 by default: times three. LoRA: times two thirds.

Two CPU cores:

{cpu_hours}

One GPU (device hours, however many devices share them):

{gpu_hours}

## What exists today, and what does not

| | today | not there |
|---|---|---|
| preparing | rows looked at by all cores, or by a Ray cluster; compared by one process from numbers: to some 10^7 rows in 16 GB, 10^8 on a large machine | duplicates compared by several machines |
| tokenising | one process, two threads, goes on after a kill; rows in memory, sequences on disk: to some 5 x 10^6 rows in 16 GB | rows read piece by piece; several machines |
| training | one device (CPU, CUDA or MPS), or several under torchrun: [train](rooms/train.md#several-processes) | tested on a CPU: over NCCL and on several machines it is written and was not run |
| memory | fp32 weights with bf16 products, head on learned tokens only and in parts, layers computed again where memory is short, LoRA, four bits under adapters (CUDA) | optimiser states in main memory or in eight bits |
| largest model, full | what fits {full} bytes per parameter on a device, about 1B in 24 GB, 4B in 80 GB; on several the table above | parts loaded and saved by each process for itself: some 10B and more |
| largest model, LoRA | what fits {frozen} bytes per parameter: about 4B in 24 GB, 16B in 80 GB | the same |
| evaluation | one device, batched; endpoints, each with many requests under way | several devices for one model |

So rows up to a million and models up to a few billion parameters are what the code of today is written for. The tables
beyond that say what to expect of the task, not of this version.
"""


def page() -> str:
    """The whole page."""
    return PAGE.format(
        tokens=TOKENS,
        text_bytes=TEXT_BYTES,
        prepared=PREPARED_PER_SECOND,
        head=HEAD_PER_ROW,
        tokenised=TOKENISED_PER_SECOND,
        cpu=CPU / 1e12,
        gpu=GPU / 1e12,
        full=FULL_PER_PARAMETER,
        frozen=FROZEN_PER_PARAMETER,
        logits=bytes_text(2048 * 128_000 * 4),
        rows=rows_table(),
        models=models_table(),
        parts=parts_table(),
        cpu_hours=hours_table(CPU, PARAMETERS[:3], EXAMPLES[:3]),
        gpu_hours=hours_table(GPU, PARAMETERS, EXAMPLES),
    )


def measure(data: Path, model: str) -> str:
    """How fast this machine prepares, encodes and proves rows, and what they hold in memory meanwhile."""
    import tempfile

    import heedlm
    from heedlm.data.store import read_split
    from heedlm.model.load import resolve
    from heedlm.templates.chat import load_template
    from heedlm.tokens.rows import make_rows
    from heedlm.tokens.tokenizer import load_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        report = heedlm.prepare(run=folder, data=data, settings=["data.val=null", "data.test=null"])
        tracemalloc.start()
        examples = list(read_split(report.out / "train.jsonl"))
        read = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    tokenizer = load_tokenizer(resolve(model))
    template = load_template(None, tokenizer)
    began = time.perf_counter()
    proof = make_rows(template, tokenizer, examples, max_tokens=10**9, overflow="drop").proof
    seconds = time.perf_counter() - began
    return (
        f"{report.rows_in:,} rows prepared in {report.seconds:.2f} s: {report.rows_in / report.seconds:,.0f} per second\n"
        f"{proof.tokens:,} tokens, {proof.tokens / proof.rows:.0f} per row, {proof.learned_tokens / proof.tokens:.0%} learned\n"
        f"rendered, encoded and proved in {seconds:.2f} s: {proof.tokens / seconds:,.0f} tokens per second\n"
        f"memory: {read / proof.tokens:.0f} bytes per token of the rows read\n"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        sys.stdout.write(measure(Path(sys.argv[2]), sys.argv[3]))
    else:
        Path(__file__).with_name("scaling.md").write_text(page(), encoding="utf8")
