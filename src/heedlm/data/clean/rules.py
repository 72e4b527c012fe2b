"""The rules by which readable rows are cleaned, and what each of them finds in an example.

A rule finds; its action decides: `flag` counts the row and writes it down, `drop` leaves it out, `mask` replaces personal
data by a word in brackets, `off` does not look. Nothing here looks like a filter for web pages: length, odd words or
bullet points do not make a bad answer.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from heedlm.data.clean import answers, damage, personal, phrases
from heedlm.data.languages import LANGUAGES, language
from heedlm.data.words import words
from heedlm.messages import JSON, Example, Message, ToolCall

Action = Literal["off", "flag", "drop", "mask"]

# What each rule finds, as the card tells it.
RULES: Mapping[str, str] = {
    "length": "more words than data.clean.max_words, or an answer of fewer than data.clean.min_words",
    "placeholder": "a word that stands for nothing in place of an answer or an input (nan, N/A, <nooutput>)",
    "repetition": "the answer goes round in circles",
    "refusal": "the answer refuses, or speaks of being a language model",
    "echo": "the answer repeats the question",
    "truncated": "long prose that stops inside a sentence, or code that is never closed",
    "control": "a control token or the mark of another turn, written out in the text",
    "encoding": "letters of a wrong encoding, or unprintable characters",
    "language": "the answer is in another language than the question, which does not speak of languages",
    **{name: f"{kind.names[1]}, told by their form" for name, kind in personal.KINDS.items()},
}
_SPOKEN_OF = re.compile(
    r"translat|übersetz|tradu[ciz]|tradui|vertaal|översätt|oversæt|przetłumacz|çevir|terjemah|перев[ео]д|перекла|превед|अनुवाद|翻译|翻譯"
    r"|翻訳|訳し|번역|ترجم|language|langue|sprache|idioma|lingua\b|taal\b|språk|język|bahasa|язык|мов|भाषा|语|語|말로|لغة|word for|phrase for"
    r"|say .{1,60} in |deutsch|français|español|italiano|português|nederlands|svenska|dansk|polsk|türkçe|русск|українс|हिन्दी|हिंदी|中文|英文"
    r"|日本語|英語|한국어|영어|العربية|الإنجليزية|" + "|".join(name.lower() for name in LANGUAGES)
)  # fmt: skip
_LANGUAGE_WORDS = 5  # words from which a language is told
_LOOKED_AT = 20_000  # characters of a question in which a language is looked for


class Finding(NamedTuple):
    """What a rule found in a row, in words that hold no personal data."""

    rule: str
    what: str


class Cleaned(NamedTuple):
    """The example, masked where that was asked for, and what was found in it as it was.

    language: of its last answer, or None where it cannot be told.
    """

    example: Example
    findings: tuple[Finding, ...]
    language: str | None


class Limits(NamedTuple):
    """Words of a whole row at most, and of an answer at least."""

    max_words: int
    min_words: int


def clean(example: Example, found: Sequence[Sequence[str]], actions: Mapping[str, Action], limits: Limits) -> Cleaned:
    """Look at an example with every rule that is not off.

    found: the words of each message.   actions: by name of the rule; one that is not named is off.
    """
    rules = {rule for rule, action in actions.items() if action != "off"}
    turns = list(_answers(example.messages, found))
    findings = tuple(Finding(rule, what) for rule, what in _all(example, found, turns, rules, limits))
    masks = [finding.rule for finding in findings if actions[finding.rule] == "mask"]
    spoken = language(example.messages[-1].content, found[-1]) if not turns else turns[-1].spoken
    return Cleaned(_masked(example, masks) if masks else example, findings, spoken)


def _all(
    example: Example, found: Sequence[Sequence[str]], turns: Sequence[_Turn], rules: set[str], limits: Limits
) -> Iterator[tuple[str, str]]:
    """Each rule at most once."""
    if "length" in rules:
        fewest = min((len(turn.words) for turn in turns if not turn.calls), default=limits.min_words)
        what = answers.length(sum(map(len, found)), fewest, limits.max_words, limits.min_words)
        if what:
            yield "length", what
    for rule in ("placeholder", "repetition", "refusal", "echo", "truncated", "language"):
        if rule in rules:
            what = next((what for turn in turns if (what := _about_answer(rule, turn, example))), None)
            if what:
                yield rule, what
    for rule in ("control", "encoding"):
        if rule in rules:
            what = next((what for message in example.messages if (what := _about_text(rule, message))), None)
            if what:
                yield rule, what
    # A line between texts, so that nothing is found that begins in one and ends in the next.
    everything = "\n\n\n".join(text for one in (*example.messages, *example.rejected) for text in _texts(one))
    for rule, kind in personal.KINDS.items():
        if rule in rules:
            number = personal.count(rule, everything)
            if number:
                yield rule, f"{number} {kind.names[number > 1]}"


class _Turn(NamedTuple):
    """An answer that is taught, and what it answers. calls: whether tools are called.   spoken: its language."""

    asked: str
    asked_words: Sequence[str]
    answer: str
    words: Sequence[str]
    calls: bool
    spoken: str | None


def _answers(messages: Sequence[Message], found: Sequence[Sequence[str]]) -> Iterator[_Turn]:
    asked, asked_words = "", list[str]()
    for message, its_words in zip(messages, found, strict=True):
        if message.role == "assistant":
            if message.weight != 0:
                spoken = language(message.content, its_words)
                yield _Turn(asked, asked_words, message.content, its_words, bool(message.tool_calls), spoken)
        elif message.role == "user":
            asked, asked_words = message.content, list(its_words)


def _about_answer(rule: str, turn: _Turn, example: Example) -> str | None:
    if turn.calls and not turn.answer.strip():
        return None
    if rule == "placeholder":
        return answers.placeholder(turn.asked, turn.answer)
    if rule == "repetition":
        return answers.repetition(turn.answer, turn.words)
    if rule == "refusal":
        return phrases.refusal(turn.answer, turn.words)
    if rule == "echo":
        return answers.echo(turn.asked, turn.asked_words, turn.answer, turn.words)
    if rule == "truncated":
        return answers.truncated(turn.answer, turn.words)
    return _other_language(turn, example)


def _other_language(turn: _Turn, example: Example) -> str | None:
    if min(len(turn.asked_words), len(turn.words)) < _LANGUAGE_WORDS:
        return None
    asked = language(turn.asked, turn.asked_words) if turn.spoken else None
    if not asked or asked == turn.spoken:
        return None
    said = [turn.asked] + [message.content for message in example.messages if message.role == "system"]
    if any(_SPOKEN_OF.search(text.lower(), 0, _LOOKED_AT) for text in said):
        return None
    return f"the question is in {asked}, the answer in {turn.spoken}"


def _about_text(rule: str, message: Message) -> str | None:
    for text in (message.content, message.reasoning or ""):
        if text:
            found = (
                damage.encoding(text)
                if rule == "encoding"
                else damage.control(text, answer=message.role == "assistant")
            )
            if found:
                return f"{found}, in a turn of the {message.role}"
    return None


def _texts(message: Message) -> Iterator[str]:
    """Every text of a turn that could be learnt or seen."""
    yield message.content
    if message.reasoning:
        yield message.reasoning
    for call in message.tool_calls:
        yield from _strings(call.arguments)


def _strings(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _masked(example: Example, kinds: Sequence[str]) -> Example:
    """The example with personal data of these kinds replaced, in every turn."""

    def text(value: str) -> str:
        for kind in kinds:
            value = personal.mask(kind, value)
        return value

    def inside(value: JSON) -> JSON:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, Mapping):
            return {name: inside(inner) for name, inner in value.items()}
        return [inside(inner) for inner in value] if isinstance(value, list) else value

    def masked(message: Message) -> Message:
        return dataclasses.replace(
            message,
            content=text(message.content),
            reasoning=message.reasoning and text(message.reasoning),
            tool_calls=tuple(ToolCall(call.name, inside(call.arguments), call.id) for call in message.tool_calls),
        )

    messages, rejected = (tuple(map(masked, turns)) for turns in (example.messages, example.rejected))
    return dataclasses.replace(example, messages=messages, rejected=rejected)


def words_of(example: Example) -> list[list[str]]:
    """The words of each message, once for all rules and for the search of duplicates."""
    return [words(message.content) for message in example.messages]
