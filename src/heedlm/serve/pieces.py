"""Tokens as a client reads them: text, bytes, log-probability, alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from heedlm.generate.text import decoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from heedlm.generate.engine import Job

_BROKEN = "\ufffd"


def token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """The text of one token on its own, with the blank that it begins with."""
    return _texts(tokenizer, token)[0]


def chat_logprobs(tokenizer: PreTrainedTokenizerBase, job: Job, begin: int, end: int) -> dict[str, Any]:
    """The `logprobs` of the tokens begin..end - 1 of a reply, as /v1/chat/completions has them; `id` is ours."""
    content = []
    for at in range(begin, end):
        shown = _shown(tokenizer, job.ids[at], job.logprobs[at])
        others = job.alternatives[at] if job.alternatives else ()
        content.append({**shown, "top_logprobs": [_shown(tokenizer, token, value) for token, value in others]})
    return {"content": content, "refusal": None}


def completion_logprobs(
    tokenizer: PreTrainedTokenizerBase, job: Job, begin: int, end: int, offset: int
) -> dict[str, Any]:
    """The same as /v1/completions has them. offset: characters before the first of these tokens."""
    tokens = [token_text(tokenizer, token) for token in job.ids[begin:end]]
    offsets = [offset + sum(map(len, tokens[:at])) for at in range(len(tokens))]
    top = [
        {token_text(tokenizer, token): value for token, value in reversed(others)}
        for others in job.alternatives[begin:end]
    ]
    return {
        "tokens": tokens,
        "token_logprobs": job.logprobs[begin:end],
        "top_logprobs": top or None,
        "text_offset": offsets,
    }


def _shown(tokenizer: PreTrainedTokenizerBase, token: int, logprob: float) -> dict[str, Any]:
    text, raw = _texts(tokenizer, token)
    return {"token": text, "id": token, "logprob": logprob, "bytes": None if raw is None else list(raw)}


@lru_cache(maxsize=65536)
def _texts(tokenizer: PreTrainedTokenizerBase, token: int) -> tuple[str, bytes | None]:
    """Text and bytes of one token; bytes are None for half a character in a vocabulary that does not tell them."""
    text = decoded(tokenizer, [token])
    piece = str(tokenizer.convert_ids_to_tokens(token))
    if piece.startswith("\u2581") and not text.startswith(" "):  # a first word loses its blank, a later one has it
        text = " " + text
    if _BROKEN not in text:
        return text, text.encode()
    if len(piece) == 6 and piece.startswith("<0x"):
        return text, bytes([int(piece[3:5], 16)])
    known = _byte_letters()
    return text, bytes(known[letter] for letter in piece) if all(letter in known for letter in piece) else None


@lru_cache(maxsize=1)
def _byte_letters() -> dict[str, int]:
    """The letters by which byte-level vocabularies write bytes (GPT-2's table): printable ones stand for themselves."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in own]
    return {**{chr(byte): byte for byte in own}, **{chr(256 + at): byte for at, byte in enumerate(others)}}


def token_pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text that each id adds to the ones before it; joined they are the whole. Half a character adds nothing, its last
    token all of it."""
    from heedlm.generate.text import TextStream

    stream, pieces, seen = TextStream(tokenizer, ()), [], 0
    for token in ids:
        stream.push(token)
        pieces.append(stream.text[seen:])
        seen = len(stream.text)
    stream.close()
    if pieces:
        pieces[-1] += stream.text[seen:]
    return pieces
