"""A Hugging Face tokenizer in the words of a GGUF file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from heedlm.errors import HeedError
from heedlm.exports.prompts import Told
from heedlm.exports.readings import (
    BYTE,
    CONTROL,
    NORMAL,
    SPLITS,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
    byte_level,
    prompt_ids,
    reading,
    resplit,
)
from heedlm.exports.source import Source
from heedlm.templates.chat import writes_bos

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# Texts at which the splits of llama.cpp part: case, figures, marks, contractions, signs before letters and line breaks.
_TELLING = (
    "HelloWorld ABCdef iPhone's I'M we'LL 'twas they'd",
    "1 12 123 1234 12345678 ١٢٣ x1y22z",
    "हिन्दी कि नमस्ते e\u0301te\u0301 שָׁלוֹם",
    'a/b//\n\n (word) "word" .word\r\n  \t x\n \n\n  end  ',
    "東京タワー123円、한국어 ok…!?\n",
)
_CASES = r"p{Lu}\\p{Lt}\\p{Lm}"  # as the text of a pattern shows it: splits that part words at a change of case
_ENDS = 3  # ids that end a reply for which a GGUF file has a name: eos, eot, eom
# Texts that end a reply in llama.cpp wherever they are tokens.
KNOWN_ENDS = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<|end_of_text|>",
)


def vocabulary_of(source: Source, rows: int, told: Sequence[Told]) -> tuple[Vocabulary, tuple[str, ...]]:
    """The vocabulary with `rows` tokens, as many as the embedding has, and what people should know about it.

    told: prompts; the split, or the space before texts, that reads most of them as the tokenizer does is chosen.
    Raises HeedError for a tokenizer that is no BPE.
    """
    tokenizer = source.tokenizer
    stated = _stated(tokenizer, source.folder)
    model = stated["model"]
    byte_fallback = bool(model.get("byte_fallback"))
    tokens, kinds = _tokens(tokenizer, model, rows, byte_fallback)
    if len(tokens) > rows:
        raise HeedError(
            f"The tokenizer has {len(tokens):,} tokens, the model rows for {rows:,}.",
            source.folder,
            "tune the model again",
        )
    opened = tokenizer.bos_token is not None and all(one.text.startswith(str(tokenizer.bos_token)) for one in told)
    ends = tuple(
        dict.fromkeys([*([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []), *source.stops])
    )
    notes = _notes(stated, tokenizer, ends, byte_fallback)
    if writes_bos(tokenizer) and not opened:
        notes = (
            *notes,
            "The chat template writes no BOS, so the file adds none: to plain text neither, unlike the tokenizer.",
        )
    merges = tuple((first, second) for first, second in _pairs(model["merges"]))
    found = Vocabulary(
        model="llama" if byte_fallback else "gpt2",
        pre="default",
        tokens=tuple(tokens),
        kinds=tuple(kinds),
        merges=() if byte_fallback else merges,
        scores=_scores(tokens, merges) if byte_fallback else (),
        bos=tokenizer.bos_token_id,
        unknown=tokenizer.unk_token_id,
        pad=tokenizer.pad_token_id,
        ends=ends,
        # Where the template writes no BOS the model was taught without one, whatever the tokenizer does to plain text.
        add_bos=writes_bos(tokenizer) and opened,
    )
    if byte_fallback:
        return _spaced(found, told), notes
    return _split(found, told, stated, tokenizer.backend_tokenizer), notes


def _stated(tokenizer: PreTrainedTokenizerBase, folder: str) -> Mapping[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    stated: dict[str, Any] = {} if backend is None else json.loads(backend.to_str())
    kind = stated.get("model", {}).get("type", type(tokenizer).__name__)
    if kind != "BPE":
        raise HeedError(
            f"heed writes BPE tokenizers into GGUF; this one is {kind}.",
            folder,
            "llama.cpp's own converter: convert_hf_to_gguf.py FOLDER",
        )
    return stated


def _tokens(
    tokenizer: PreTrainedTokenizerBase, model: Mapping[str, Any], rows: int, pieces: bool
) -> tuple[list[str], list[int]]:
    """Text and kind of every id; ids without a token, which embeddings padded to a round size have, are marked unused."""
    by_id: dict[int, tuple[str, int]] = {}
    for text, place in model["vocab"].items():
        byte = pieces and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
        by_id[place] = (text, BYTE if byte else UNKNOWN if text == model.get("unk_token") else NORMAL)
    for place, token in tokenizer.added_tokens_decoder.items():
        text = str(token.content)
        unknown = pieces and place == tokenizer.unk_token_id
        by_id[place] = (text, UNKNOWN if unknown else CONTROL if token.special else USER_DEFINED)
    size = max(rows, max(by_id) + 1)
    found = [by_id.get(place, (f"[PAD{place}]", UNUSED)) for place in range(size)]
    return [text for text, _ in found], [kind for _, kind in found]


def _pairs(merges: Sequence[Any]) -> list[tuple[str, str]]:
    """Merges as pairs; older files write them as one text with a blank between."""
    pairs = (merge.split(" ", 1) if isinstance(merge, str) else merge for merge in merges)
    return [(first, second) for first, second in pairs]


def _scores(tokens: Sequence[str], merges: Sequence[tuple[str, str]]) -> tuple[float, ...]:
    """What SentencePiece calls a score: the earlier a token is merged, the higher."""
    ranks: dict[str, int] = {}
    for rank, (first, second) in enumerate(merges):
        ranks.setdefault(first + second, rank)
    return tuple(-float(ranks.get(token, len(merges))) for token in tokens)


def _split(vocabulary: Vocabulary, told: Sequence[Told], stated: Mapping[str, Any], backend: Tokenizer) -> Vocabulary:
    """With the name of llama.cpp's split that cuts every text as the tokenizer does; else of the one that reads most
    prompts as it does, the first of equals.

    Pieces tell more than ids: in a small vocabulary many splits give the same ids.
    """
    if _CASES in (said := str(stated.get("pre_tokenizer"))):
        # llama.cpp says these two in words of its own, which leave loose accents out: no cut is equal everywhere.
        return replace(vocabulary, pre="gpt-4o" if "{1,3}" in said else "tekken")
    theirs = byte_level(vocabulary)
    texts = [*(one.text for one in told), *_TELLING]
    cuts = [_cuts(backend, text) for text in texts]
    read = lambda text: list(theirs.encode(text, add_special_tokens=False).ids)  # noqa: E731
    same: dict[str, int] = {}
    for name in SPLITS:
        resplit(theirs, name)
        if all(_cuts(theirs, text) == cut for text, cut in zip(texts, cuts, strict=True)):
            return replace(vocabulary, pre=name)
        same[name] = sum(tuple(prompt_ids(vocabulary, read, one.text)) == one.ids for one in told)
    return replace(vocabulary, pre=max(same, key=lambda name: same[name]))


def _cuts(backend: Tokenizer, text: str) -> list[str]:
    """The pieces of a text that are merged apart."""
    splitter = backend.pre_tokenizer
    return [text] if splitter is None else [piece for piece, _ in splitter.pre_tokenize_str(text)]


def _spaced(vocabulary: Vocabulary, told: Sequence[Told]) -> Vocabulary:
    """With or without a space before texts, whichever reads more of the prompts as the tokenizer does."""
    both = [replace(vocabulary, add_space=space) for space in (True, False)]
    return max(
        both,
        key=lambda one: sum(tuple(prompt_ids(one, reading(one), told_.text)) == told_.ids for told_ in told),
    )


def _notes(
    stated: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], pieces: bool
) -> tuple[str, ...]:
    notes = []
    if stated.get("normalizer") is not None and not pieces:
        notes.append(
            f"The tokenizer normalises text first ({stated['normalizer'].get('type')}), which llama.cpp does not: text in "
            "another form, such as letters with loose accents, is read otherwise there."
        )
    texts = [str(tokenizer.convert_ids_to_tokens(one)) for one in ends[_ENDS:]]
    lost = [text for text in texts if text not in KNOWN_ENDS]
    if lost:
        notes.append(f"llama.cpp ends a reply at three tokens; also pass --stop for {', '.join(lost)}.")
    return tuple(notes)
