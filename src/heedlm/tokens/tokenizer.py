"""Tokenizers, loaded from a folder or trained on text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from heedlm.errors import HeedError
from heedlm.templates.controls import special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
NUM_RESERVED = 256 + 4  # every byte, and the four tokens above

# Words with their combining marks (Devanagari vowels are marks, not letters) and one leading blank; digits two by
# two, so that a number has one reading; English contractions; runs of punctuation; white space, of which the last
# blank goes with the word that follows.
WORDS = r"'(?:[sdmt]|re|ve|ll)\b| ?[\p{L}\p{M}]+| ?\p{N}{1,2}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)


def load_tokenizer(path: str | Path, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder or a hub id.

    Raises HeedError when the folder does not exist or holds no tokenizer, or when the hub does not answer.
    """
    folder = Path(path)
    if folder.is_dir():
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise HeedError(
                "The model folder has no tokenizer.",
                str(folder),
                f"Copy the files of its tokenizer there ({TOKENIZER_FILES[0]} and {TOKENIZER_FILES[1]}).",
            )
    elif folder.is_file():
        raise HeedError("A model is a folder, and this is a file.", str(folder), "Name the folder that holds it.")
    elif isinstance(path, Path) or folder.is_absolute() or str(path).startswith((".", "~")) or str(path).count("/") > 1:
        raise HeedError("There is no such model folder.", str(path), "Check the path.")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=trust_remote_code)
    except Exception as error:  # a broken file surfaces as any of a dozen types, from KeyError to the Rust side's own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise HeedError(
            f"The tokenizer cannot be loaded: {reason}",
            str(path),
            "Check the folder or the hub id; a hub id needs the network or a filled cache.",
        ) from error
    if not tokenizer:
        raise HeedError("The folder holds no tokenizer that can be used.", str(path), "Check its tokenizer files.")
    return cast("PreTrainedTokenizerBase", tokenizer)


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Text to id of every token that the tokenizer calls special, by rising id."""
    return special_tokens(tokenizer)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens; the same texts give the same tokenizer.

    Any text can be spelled (each byte has a token) and decodes to itself. The end-of-text token also opens every text: it is
    what the model that is trained with it sees before each document (tokens.documents). eos and pad are distinct.
    Raises HeedError when `vocab_size` cannot hold the bytes and the special tokens.
    """
    if vocab_size < NUM_RESERVED:
        raise HeedError(
            f"A vocabulary of {vocab_size} tokens is too small: bytes and special tokens need {NUM_RESERVED}.",
            "vocab_size",
            f"Use at least {NUM_RESERVED}.",
        )
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PAD, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    opening = (END_OF_TEXT, backend.token_to_id(END_OF_TEXT))
    backend.post_processor = processors.TemplateProcessing(single=f"{END_OF_TEXT} $A", special_tokens=[opening])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PAD,
        extra_special_tokens=[TURN_START, TURN_END],
        clean_up_tokenization_spaces=False,
    )
