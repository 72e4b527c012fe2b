"""Models and tokenizers of the kinds that people export, small enough to be made in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from heedlm.exports.source import Source, open_source
from tests.families import TEXTS, build

VOCABULARY = 384  # rows of the embedding: more than the tokens, as many models have
_ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
# How the families themselves say where they split, in their tokenizer.json.
THEIR_SPLITS: dict[str, list[Any]] = {
    "llama-bpe": [
        rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_REST}",
    ],
    "qwen2": [rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_REST}"],
    "gpt-2": [None],
    "smollm": [pre_tokenizers.Digits(individual_digits=True), None],
    "qwen35": [
        rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_REST}"
    ],
    "tekken": [
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*"
        rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_REST}"
    ],
}
SAYINGS = [
    *TEXTS,
    "It's 2024: 1234567 people, don't they'll say I'd've? 'Twas 3.14159 + 1,000 = x.",
    "def f(x):\n\treturn x**2  # squared\n\n\nprint(f(10))\n",
    "HelloWorld camelCase ABCdef naïve CAFÉ Straße\n\n  indented   text\t\tand tabs  \n",
] * 2


def bytes_tokenizer(split: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE that splits as the family of llama.cpp's name `split` does."""
    backend = Tokenizer(models.BPE(ignore_merges=split in ("llama-bpe", "tekken")))
    steps: list[Any] = []
    for one in THEIR_SPLITS[split]:
        if isinstance(one, str):
            steps += [
                pre_tokenizers.Split(Regex(one), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        else:
            steps.append(one or pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 14,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SAYINGS, trainer)
    backend.add_tokens([AddedToken("<think>", normalized=False, special=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>", extra_special_tokens=special[1:]
    )


def pieces_tokenizer(space: bool = True) -> PreTrainedTokenizerFast:
    """SentencePiece's BPE as Llama 2 and Mistral have it: bytes for what is unknown, a BOS, perhaps a space before texts."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trained.train_from_iterator(SAYINGS, trainers.BpeTrainer(vocab_size=120, show_progress=False))
    import json

    stated = json.loads(trained.to_str())["model"]
    learned = sorted(stated["vocab"], key=stated["vocab"].get)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned]
    places = {token: place for place, token in enumerate(dict.fromkeys(tokens))}
    backend = Tokenizer(
        models.BPE(
            vocab=places,
            merges=[tuple(merge) for merge in stated["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    blanks = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), blanks]) if space else blanks
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def saved(
    folder: Path, tokenizer: PreTrainedTokenizerFast, family: str = "llama", template: str = "chatml", **more: object
) -> Source:
    """A model of a family in a folder, with the tokenizer and a chat template; opened as an export opens it."""
    model = build(family, vocab_size=VOCABULARY + 32, **more)
    model.save_pretrained(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    opened = open_source(folder, template)
    tokenizer.chat_template = opened.template.source
    tokenizer.save_pretrained(folder)
    return open_source(folder)
