"""How llama.cpp turns text into ids, from the tokenizer that a GGUF file states.

Two kinds: byte-level BPE behind one of llama.cpp's named splits ("gpt2" in the file), and SentencePiece's merging of
the best-scored pair ("llama"). Control tokens are cut out first, as its servers do with what a chat template wrote.
Read off llama.cpp's src/llama-vocab.cpp (build of llama-cpp-python 0.3.36) and compared with it in a test.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BLANK = "▁"  # what stands for a space in SentencePiece

_ENDINGS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_REST = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+",
    r"|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*",
)


def _words(digits: str, letters: str = r"\p{L}") -> str:
    return (
        rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[{letters}]+|\p{{N}}{digits}"
        rf"| ?[^\s{letters}\p{{N}}]+[\r\n]*{_REST}"
    )


# Name in the file -> what it splits by, one after the other. Those that models of our four shapes use.
SPLITS: Mapping[str, tuple[str, ...]] = {
    "llama-bpe": (_words("{1,3}"),),
    "qwen2": (_words(""),),
    "gpt-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "tekken": (rf"{_CASED[0]}{_CASED[1]}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_REST}",),
    "qwen35": (_words("", r"\p{L}\p{M}"),),
    "gpt-4o": (rf"{_CASED[0]}{_ENDINGS}?{_CASED[1]}{_ENDINGS}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_REST}",),
    "deepseek-v3": (
        r"\p{N}{1,3}",
        "[一-龥぀-ゟ゠-ヿ]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
        rf"""| ?[\p{{P}}\p{{S}}]+[\r\n]*{_REST}""",
    ),
}
# Splits behind which a word that is a token as a whole is taken as that token, whatever its merges say.
WHOLE_WORDS = ("llama-bpe", "tekken")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokenizer as a GGUF file states it.

    model: "gpt2" or "llama".   pre: name of the split, for "gpt2".   kinds: of each token, see NORMAL to BYTE.
    merges: pairs in the order of their rank, for "gpt2".   scores: of each token, for "llama".
    ends: ids that end a reply, eos first; llama.cpp has room for three.   add_bos: BOS before every text.
    add_space: a space before a text and behind every control token, for "llama".
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[tuple[str, str], ...] = ()
    scores: tuple[float, ...] = ()
    bos: int | None = None
    unknown: int | None = None
    pad: int | None = None
    ends: tuple[int, ...] = ()
    add_bos: bool = False
    add_space: bool = False


Read = Callable[[str], list[int]]


def prompt_ids(vocabulary: Vocabulary, read: Read, text: str) -> list[int]:
    """Ids of a rendered chat as llama.cpp's servers make them: a BOS that both template and tokenizer write stands once."""
    if not vocabulary.add_bos or vocabulary.bos is None:
        return read(text)
    return [vocabulary.bos, *read(text.removeprefix(vocabulary.tokens[vocabulary.bos]))]


def reading(vocabulary: Vocabulary) -> Read:
    """The function from text to ids, without a BOS."""
    return _pieces(vocabulary) if vocabulary.model == "llama" else _bytes(vocabulary)


def _bytes(vocabulary: Vocabulary) -> Read:
    backend = byte_level(vocabulary)
    resplit(backend, vocabulary.pre)

    def read(text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids

    return read


def byte_level(vocabulary: Vocabulary) -> Tokenizer:
    """The merging of byte-level BPE; what it splits by is set by `resplit`."""
    from tokenizers import AddedToken, Tokenizer, models

    places = {token: place for place, token in enumerate(vocabulary.tokens)}
    backend = Tokenizer(models.BPE(vocab=places, merges=list(vocabulary.merges)))
    added = [
        AddedToken(token, normalized=False, special=kind == CONTROL)
        for token, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True)
        if kind in (CONTROL, USER_DEFINED)
    ]
    backend.add_tokens([token for token in added if not token.special])
    backend.add_special_tokens([token for token in added if token.special])
    return backend


def resplit(backend: Tokenizer, pre: str) -> None:
    """Have a byte-level tokenizer split as llama.cpp does under the name `pre`."""
    from tokenizers import Regex, pre_tokenizers

    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in SPLITS[pre]]
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.model.ignore_merges = pre in WHOLE_WORDS


def _pieces(vocabulary: Vocabulary) -> Read:
    places = {token: place for place, token in enumerate(vocabulary.tokens)}
    marked = [
        token
        for token, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True)
        if kind in (CONTROL, USER_DEFINED, UNKNOWN) and token
    ]
    longest = sorted(marked, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest)) or "(?!)")

    def read(text: str) -> list[int]:
        ids: list[int] = []
        fresh, at = True, 0  # whether a control token, or nothing, stands before
        for match in [*pattern.finditer(text), None]:
            between = text[at : match.start() if match else len(text)]
            if between:
                lead = " " if fresh and vocabulary.add_space else ""
                ids += merge_pieces((lead + between).replace(" ", BLANK), places, vocabulary.scores)
                fresh = False
            if match:
                ids.append(places[match[0]])
                fresh, at = True, match.end()
        return ids

    return read


def merge_pieces(text: str, places: Mapping[str, int], scores: Sequence[float]) -> list[int]:
    """Join the neighbours whose joint token has the highest score, left ones first, until none is left; bytes for the rest."""
    parts: list[str] = list(text)
    left, right = list(range(-1, len(parts) - 1)), [*range(1, len(parts)), -1]
    queue: list[tuple[float, int, int, str]] = []

    def offer(first: int, second: int) -> None:
        if first >= 0 and second >= 0 and (joint := parts[first] + parts[second]) in places:
            heapq.heappush(queue, (-scores[places[joint]], first, second, joint))

    for place in range(len(parts) - 1):
        offer(place, place + 1)
    while queue:
        _, first, second, joint = heapq.heappop(queue)
        if not parts[first] or not parts[second] or parts[first] + parts[second] != joint:
            continue  # one of the two was joined meanwhile
        parts[first], parts[second] = joint, ""
        right[first] = right[second]
        if right[second] >= 0:
            left[right[second]] = first
        offer(left[first], first)
        offer(first, right[first])
    ids: list[int] = []
    for part in filter(None, parts):
        ids += [places[part]] if part in places else [places[f"<0x{byte:02X}>"] for byte in part.encode()]
    return ids
