"""The rows, tokenizers and models that benchmarks run on: public instruction files where there are some, else the built-in world."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from common import BENCH, SHAPES, Failed, say

from heedlm.data.store import write_split
from heedlm.messages import Example, Message
from heedlm.templates.chat import ChatTemplate, load_template, plain, segments
from heedlm.tokens.tokenizer import load_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE = "human_assistant"
MAX_TOKENS = 1024  # no row is longer, so that no side cuts or drops one
FILES = ("instructions_1100.json", "gpteacher_roleplay.json", "gsm8k_train.json")


class Row(NamedTuple):
    """One example as every side gets it. ids, learned: what all of them make of the text."""

    example: Example
    prompt: str
    completion: str
    ids: tuple[int, ...]
    learned: tuple[bool, ...]


class RowFiles(NamedTuple):
    """rows: as heed prepares them.   pairs: {"prompt", "completion"} per line.   source: where the rows are from."""

    rows: Path
    pairs: Path
    kept: tuple[Row, ...]
    source: str

    def lengths(self) -> list[int]:
        return [len(row.ids) for row in self.kept]


def tokenizer_folder() -> Path:
    """GPT-2's byte-pair tokenizer from the public files; where they are absent, one trained on the built-in corpus."""
    data = public_data()
    folder = BENCH / "models" / ("tokenizer-gpt2" if data else "tokenizer-atlas")
    if (folder / "tokenizer.json").is_file():
        return folder
    if data is None:
        from tokenizers import processors

        from heedlm.atlas import corpus

        tokenizer = train_tokenizer(corpus.texts("benchmark tokenizer", 500), 4096)
        # No token before a text: the tools compared here would put it at different places.
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
        tokenizer.bos_token = None
    else:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        files = (str(data / "gpt2_bpe" / name) for name in ("encoder.json", "vocab.bpe"))
        backend = Tokenizer(models.BPE.from_file(*files))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    return folder


def public_data() -> Path | None:
    """The folder of HEED_PUBLIC_DATA, where it holds what is read here."""
    folder = Path(os.environ.get("HEED_PUBLIC_DATA", ""))
    needed = (*FILES, "gpt2_bpe/encoder.json", "gpt2_bpe/vocab.bpe")
    return folder if folder.name and all((folder / name).is_file() for name in needed) else None


def model_folder(name: str, seed: int = 0, dtype: str = "float32", device: str = "cpu") -> Path:
    """A model of `SHAPES[name]` with random weights in Hugging Face layout, made once."""
    import torch
    from transformers import LlamaForCausalLM

    shape, tokens = SHAPES[name], tokenizer_folder()
    folder = BENCH / "models" / f"{name}-{dtype}-{seed}-{tokens.name.removeprefix('tokenizer-')}"
    if (folder / "done").is_file():
        return folder
    say(f"writing a model of {shape.parameters / 1e6:.0f}M random weights to {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = load_tokenizer(tokens)
    torch.manual_seed(seed)
    config = shape.config(tokenizer.eos_token_id)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "done").touch()
    return folder


def instruction_rows(count: int, held_out: int, seed: int) -> tuple[list[Row], list[Row], str]:
    """`count` rows to learn and `held_out` others, drawn by `seed`, and where they are from."""
    data = public_data()
    texts = _public_texts(data) if data else _atlas_texts(4 * (count + held_out), seed)
    random.Random(seed).shuffle(texts)
    tokenizer = load_tokenizer(tokenizer_folder())
    template = load_template(TEMPLATE, tokenizer)
    kept: list[Row] = []
    seen: set[str] = set()
    left_out = 0
    for question, answer in texts:
        if len(kept) == count + held_out:
            break
        row = make_row(tokenizer, template, f"row-{len(kept)}", question, answer)
        if row is None or len(row.ids) > MAX_TOKENS or row.prompt in seen:
            left_out += 1
            continue
        seen.add(row.prompt)
        kept.append(row)
    if len(kept) < count + held_out:
        raise Failed(f"only {len(kept)} rows of {count + held_out} were found")
    source = "public instruction files" if data else "atlas"
    say(
        f"{count} + {held_out} rows from {source} ({left_out} left out: double, too long, or cut differently by a peer)"
    )
    return kept[:count], kept[count:], source


def _public_texts(data: Path) -> list[tuple[str, str]]:
    texts = []
    for name in FILES:
        for row in json.loads((data / name).read_text("utf8")):
            question = "\n\n".join(part for part in (row["instruction"].strip(), row.get("input", "").strip()) if part)
            texts.append((question, row["output"].strip()))
    return [(question, answer) for question, answer in texts if question and answer]


def _atlas_texts(count: int, seed: int) -> list[tuple[str, str]]:
    from heedlm.atlas.tasks import rows

    texts = []
    for row in rows("train", seed, count):
        turns = [turn for turn in row["messages"] if turn["role"] != "system"]
        if len(turns) == 2:
            texts.append((turns[0]["content"], turns[1]["content"]))
    return texts


def make_row(
    tokenizer: PreTrainedTokenizerBase, template: ChatTemplate, name: str, question: str, answer: str
) -> Row | None:
    """A row whose boundary between prompt and completion every tool puts at the same token; None where they part.

    heed and TRL tokenise the whole and look for the prompt in it, LLaMA-Factory and litgpt tokenise the two parts.
    """
    example = Example(name, (Message("user", question), Message("assistant", answer)), source=f"benchmark:{name}")
    sequences = segments(template, tokenizer, example)
    if len(sequences) != 1:
        return None
    prompt = plain("".join(part.text for part in sequences[0] if part.weight == 0))
    completion = plain("".join(part.text for part in sequences[0] if part.weight > 0))

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return found

    before, whole = ids(prompt), ids(prompt + completion)
    eos = str(tokenizer.eos_token)
    body = completion.removesuffix(eos)
    if not completion.endswith(eos) or eos in prompt + body or not body.strip() or whole != before + ids(completion):
        return None
    learned = (False,) * len(before) + (True,) * (len(whole) - len(before))
    return Row(example, prompt, completion, tuple(whole), learned)


def even_rows(count: int, tokens: int, learned: int, seed: int) -> list[Row]:
    """Rows of exactly `tokens` tokens, the last `learned` of them learned: words that are one token each, drawn by `seed`."""
    tokenizer = load_tokenizer(tokenizer_folder())
    rng = random.Random(seed)
    template = load_template(TEMPLATE, tokenizer)
    words = _single_tokens(tokenizer, 500)
    opening = make_row(tokenizer, template, "x", words[0], words[1])
    assert opening is not None
    around = opening.learned.count(False) - 1  # tokens of the prompt that are not the question
    made = []
    for number in range(count):
        question = words[0] + "".join(f" {rng.choice(words)}" for _ in range(tokens - learned - around - 1))
        answer = " ".join(rng.choice(words) for _ in range(learned - 1))  # and the end of text
        row = make_row(tokenizer, template, f"even-{number}", question, answer)
        assert row is not None
        made.append(_exactly(row, tokens, learned))
    return made


def _exactly(row: Row, tokens: int, learned: int) -> Row:
    if len(row.ids) != tokens or sum(row.learned) != learned:
        raise Failed(f"a row has {len(row.ids)} tokens, {sum(row.learned)} learned; {tokens} and {learned} were wanted")
    return row


def _single_tokens(tokenizer: PreTrainedTokenizerBase, count: int) -> list[str]:
    """Lower-case words that are one token behind a blank, and at the beginning of a question."""
    words = []
    for text in sorted(tokenizer.get_vocab()):
        word = text.removeprefix("Ġ")
        if text == word or not (word.isascii() and word.isalpha() and word.islower() and len(word) > 2):
            continue
        if len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1:
            words.append(word)
        if len(words) == count:
            break
    return words


def write_rows(folder: Path, rows: Sequence[Row], source: str) -> RowFiles:
    """The rows as files that workers read."""
    folder.mkdir(parents=True, exist_ok=True)
    files = RowFiles(folder / "rows.jsonl", folder / "pairs.jsonl", tuple(rows), source)
    write_split(files.rows, (row.example for row in rows))
    lines: list[dict[str, Any]] = [{"prompt": row.prompt, "completion": row.completion} for row in rows]
    files.pairs.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf8")
    return files
