"""What the teacher says at every learned token: computed once before the first step, on disk, and gone on with after a kill."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from heedlm.instructions.bake.objective import Wanted
from heedlm.messages import Batch, Encoded
from heedlm.model import attention
from heedlm.runs import disk_errors, settle, sync, write_json
from heedlm.tokens.pack import pack, to_device
from heedlm.train.forward import Packing, attention_set_to, target_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VERSION = 1
INDEX = "index.json"
_PARTS = {"keys": np.int64, "ids": np.int32, "logprobs": np.float16, "rest": np.float32}
_FILLED = ("ids", "logprobs", "rest")  # the parts that grow as the teacher is asked
_SPAN = 2**32  # places of a sequence; a key is the sequence times this, plus the place


class Targets:
    """The teacher's distributions of a run, memory-mapped; see `objective.Teacher`.

    Files: `keys` int64 [T] in rising order, `ids` int32 [T, K], `logprobs` float16 [T, K] (nats, rounded to 3 digits; what
    is looked up is made one again), `rest` float32 [T].
    """

    def __init__(self, folder: Path) -> None:
        self._keys, self._ids, self._logprobs, self._rest = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _PARTS
        )

    def __len__(self) -> int:
        return len(self._keys)

    def at(self, batch: Batch) -> Wanted:
        device = batch.ids.device
        places = batch.positions[batch.target_index] + 1  # the state before a token predicts it
        wanted = (batch.target_row * _SPAN + places).cpu().numpy()
        found = np.searchsorted(self._keys, wanted)
        assert np.array_equal(self._keys[np.minimum(found, len(self) - 1)], wanted), "every target has a teacher"
        return Wanted(
            torch.from_numpy(self._ids[found].astype(np.int64)).to(device),
            torch.from_numpy(self._logprobs[found].astype(np.float32)).to(device),
            torch.from_numpy(self._rest[found].astype(np.float32)).to(device),
        )


def targets_of(
    folder: Path,
    key: str,
    students: Sequence[Encoded],
    teacher_of: Callable[[int], Encoded],
    model: PreTrainedModel,
    packing: Packing,
    precision: torch.dtype,
    *,
    top: int,
    micro_tokens: int,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> Targets:
    """The teacher's distributions in `folder`; what is there under the same key is used, and what was begun is gone on with.

    key: of all that they depend on.   teacher_of: the sequence that has the answer of a student's behind another beginning.
    model: asked with its adapters off.   top: likeliest tokens kept for each place.   on_progress: sequences done, of all.
    """
    vocabulary = model.config.get_text_config().vocab_size
    top = min(top, vocabulary - 1)  # so that there always is a rest
    key = hashlib.sha256(json.dumps([VERSION, key, top, micro_tokens]).encode()).hexdigest()
    if _index(folder).get("key") == key:
        return Targets(folder)
    place = folder.with_name(f".{folder.name}.writing")
    keys = _keys(students)
    done = _opened(place, key, keys, top)
    device = next(model.parameters()).device
    at = 0
    with _asking(model, packing, precision):
        forward = target_logits(model, packing)
        for numbers, chunk in _chunks(len(students), teacher_of, micro_tokens):
            batch = pack(chunk, numbers)
            count = len(batch.target_id)
            if numbers[-1] < done:  # before a kill
                at += count
                continue
            hidden = forward.hidden(to_device(batch, device))
            step = forward.part or max(1, count)
            for first in range(0, count, step):
                _append(place, likeliest(forward.head(hidden[first : first + step]).float(), top))
            at += count
            done = numbers[-1] + 1
            for name in _FILLED:  # before the line that says that they are there
                sync(place / f"{name}.npy")
            write_json(place / "done.json", {"key": key, "sequences": done, "targets": at})
            on_progress(done, len(students))
    assert at == len(keys), "both sides learn the same tokens"
    return _kept(place, folder, {"version": VERSION, "key": key, "targets": len(keys), "top": top})


def likeliest(logits: torch.Tensor, top: int) -> Wanted:
    """The `top` likeliest tokens of each row of logits [L, V], V above `top`, and the rest as one."""
    total = logits.logsumexp(dim=-1)
    values, ids = logits.topk(top, dim=-1)
    rest = logits.scatter(1, ids, float("-inf")).logsumexp(dim=-1) - total
    return Wanted(ids, values - total[:, None], rest)


def _keys(students: Sequence[Encoded]) -> np.ndarray[Any, Any]:
    return np.fromiter(
        (
            number * _SPAN + place
            for number, one in enumerate(students)
            for place in range(1, len(one.ids))
            if one.weights[place] > 0
        ),
        dtype=np.int64,
    )


def _chunks(
    count: int, sequence_of: Callable[[int], Encoded], micro_tokens: int
) -> Iterator[tuple[list[int], list[Encoded]]]:
    """Sequences in their order with their numbers, as many at a time as fit; always the same, so that a resumed pass rounds
    as one that was not stopped."""
    numbers, chunk, held = list[int](), list[Encoded](), 0
    for number in range(count):
        sequence = sequence_of(number)
        if chunk and held + len(sequence.ids) > micro_tokens:
            yield numbers, chunk
            numbers, chunk, held = [], [], 0
        numbers.append(number)
        chunk.append(sequence)
        held += len(sequence.ids)
    if chunk:
        yield numbers, chunk


def _opened(place: Path, key: str, keys: np.ndarray[Any, Any], top: int) -> int:
    """Make the files that grow in `place` ready; how many sequences are done in them.

    They are written, never mapped: where the disk is full a write is refused, and a mapped page kills the process.
    """
    shapes = {name: (len(keys), top) if name in ("ids", "logprobs") else (len(keys),) for name in _FILLED}
    headers = {name: _header(_PARTS[name], shape) for name, shape in shapes.items()}
    with disk_errors(place):
        try:
            begun = json.loads((place / "done.json").read_text("utf8"))
            done, targets = (int(begun[name]) if begun["key"] == key else 0 for name in ("sequences", "targets"))
            for name, header in headers.items() if done else ():
                path, width = place / f"{name}.npy", np.dtype(_PARTS[name]).itemsize * (shapes[name][1:] or (1,))[0]
                with path.open("rb") as file:
                    whole = file.read(len(header)) == header
                if not whole or path.stat().st_size < len(header) + targets * width:
                    raise ValueError("not what was noted")
                os.truncate(path, len(header) + targets * width)
        except (OSError, ValueError, KeyError, TypeError):
            done = 0
        if not done:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            np.save(place / "keys.npy", keys)
            for name, header in headers.items():
                (place / f"{name}.npy").write_bytes(header)
    return done


def _append(place: Path, wanted: Wanted) -> None:
    for name, value in zip(_FILLED, wanted, strict=True):
        path = place / f"{name}.npy"
        with disk_errors(path), path.open("ab") as file:
            file.write(value.cpu().numpy().astype(_PARTS[name]).tobytes())


def _header(dtype: type, shape: tuple[int, ...]) -> bytes:
    """How a file of numbers begins, as `np.save` writes it."""
    said = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, said)  # type: ignore[no-untyped-call]
    return file.getvalue()


def _kept(place: Path, folder: Path, index: dict[str, Any]) -> Targets:
    (place / "done.json").unlink()
    write_json(place / INDEX, index)
    settle(place)
    with disk_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        place.rename(folder)
    return Targets(folder)


def _index(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / INDEX).read_text("utf8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _asking(model: PreTrainedModel, packing: Packing, precision: torch.dtype) -> Iterator[None]:
    """Evaluation without gradients, adapters off where there are any, with the attention that the packing asks for."""
    training = model.training
    device = next(model.parameters()).device.type
    name = attention.NAME if packing.packed else str(model.config._attn_implementation)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(device, dtype=precision, enabled=precision != torch.float32))
        stack.enter_context(attention_set_to(model, name))
        if hasattr(model, "disable_adapter"):
            stack.enter_context(model.disable_adapter())
        model.eval()
        yield
    model.train(training)
