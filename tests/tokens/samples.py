"""Tokenizers and rows for the tests of this room."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from heedlm.messages import Example, Message
from heedlm.tokens.tokenizer import train_tokenizer

SENTENCES = [
    "What is the capital of France? The capital of France is Paris.",
    "Human: say something nice. Assistant: What a lovely day it is!",
    "There were 12,345 people in 2023 and 678 in 1900.",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "def f(x):\n    return x * 2\n\n# a comment",
]


@cache
def _file() -> str:
    return train_tokenizer(SENTENCES * 30, 450).backend_tokenizer.to_str()


def make_tokenizer(special: tuple[str, ...] = (), **kwargs: Any) -> PreTrainedTokenizerFast:
    options = {"eos_token": "<|endoftext|>", "pad_token": "<|pad|>", "clean_up_tokenization_spaces": False}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_file()),
        extra_special_tokens=["<|im_start|>", "<|im_end|>", *special],
        **{**options, **kwargs},
    )


def gpt2_tokenizer() -> PreTrainedTokenizerFast | None:
    """GPT-2's own vocabulary, where the public data is at hand: one token is BOS and EOS, and nothing is padding."""
    folder = os.environ.get("HEED_PUBLIC_DATA")
    if not folder or not (Path(folder) / "gpt2_bpe").is_dir():
        return None
    vocabulary = json.loads((Path(folder) / "gpt2_bpe" / "encoder.json").read_text(encoding="utf-8"))
    lines = (Path(folder) / "gpt2_bpe" / "vocab.bpe").read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end, pad_token=end)


def blank_first_tokenizer() -> PreTrainedTokenizerFast:
    """As SentencePiece does it in older Llama models: a blank is put before a text, and decoding takes it off again."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    letters = sorted(set("".join(SENTENCES)) - {" "})
    words = ["▁a", "is", "▁is", "Pa", "▁Pa", "ris", "Paris", "▁Paris", "an", "As", "As" + "s"]
    backend = Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate([*pieces, *letters, *words])},
            merges=[
                ("▁", "a"), ("i", "s"), ("▁", "is"), ("P", "a"), ("▁", "Pa"), ("r", "is"), ("Pa", "ris"), ("▁Pa", "ris"),
                ("a", "n"), ("A", "s"), ("As", "s"),
            ],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )  # fmt: skip
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def rows(*pairs: tuple[str, str], **kwargs: Any) -> list[Example]:
    """One example per question and answer."""
    return [
        Example(f"row-{number}", (Message("user", asked), Message("assistant", told)), f"rows.jsonl:{number}", **kwargs)
        for number, (asked, told) in enumerate(pairs, start=1)
    ]


def learned_text(tokenizer: PreTrainedTokenizerFast, encoded: Any) -> str:
    """The learned tokens of a sequence, decoded; runs are parted by a bar."""
    runs, last = [], 0.0
    for token, weight in zip(encoded.ids, encoded.weights, strict=True):
        if weight > 0:
            if last <= 0:
                runs.append([])
            runs[-1].append(token)
        last = weight
    return "|".join(str(tokenizer.decode(run, skip_special_tokens=False)) for run in runs)
