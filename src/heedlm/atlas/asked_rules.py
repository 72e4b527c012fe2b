"""Rows whose system text gives a rule that the answer must keep."""

from __future__ import annotations

from dataclasses import dataclass, replace

from heedlm.atlas.asked_facts import any_attribute, fact_record, question_of
from heedlm.atlas.facts import fact_sentence, pool, translation_sentence
from heedlm.atlas.hands import Asked, Check, Hand
from heedlm.atlas.phrases import phrase
from heedlm.atlas.systems import ruled
from heedlm.atlas.wordings import WORD_QUESTIONS
from heedlm.atlas.world import split_of

_BEGIN = (
    "Begin every answer with: {p}",
    "Start each answer with the words: {p}",
    'Begin every answer with "{p}"',
    "Each answer begins with the sentence: {p}",
    "Always begin with these words: {p}",
    "The first words of every answer are: {p}",
    "Start every reply with: {p}",
    "Before each answer say: {p}",
    'Start all answers with "{p}"',
    "Put these words first in every answer: {p}",
    "The first sentence of each reply is: {p}",
    "Open each answer with: {p}",
    "First say: {p} Then answer.",
    "These words come first in every reply: {p}",
    "Begin each reply with the sentence: {p}",
    "Start your answers with the words: {p}",
    "Every answer opens with: {p}",
    "The words {p} stand before every answer.",
)
_END = (
    "End every answer with: {p}",
    "Finish each answer with the words: {p}",
    'End every answer with "{p}"',
    "Each answer ends with the sentence: {p}",
    "Always end with these words: {p}",
    "The last words of every answer are: {p}",
    "End every reply with: {p}",
    "After each answer say: {p}",
    'End all answers with "{p}"',
    "Put these words last in every answer: {p}",
    "The last sentence of each reply is: {p}",
    "Close each answer with: {p}",
    "First answer. Then say: {p}",
    "These words come last in every reply: {p}",
    "Finish each reply with the sentence: {p}",
    "Finish your answers with the words: {p}",
    "Every answer closes with: {p}",
    "The words {p} stand behind every answer.",
)
_SIGN = (
    "Sign every answer with: {p}",
    "Sign each answer: {p}",
    'Put your signature "{p}" after every answer.',
    "After each answer comes your signature: {p}",
    "Always sign as: {p}",
    "Every answer is signed: {p}",
    "Close every answer with your signature: {p}",
    "Sign your answers: {p}",
    'End with your signature "{p}" each time.',
    "Your signature is: {p} Put it below every answer.",
    "Sign every reply as: {p}",
    "Each reply ends with your signature: {p}",
)
_JOBS = ("guide", "helper", "librarian", "teacher", "host", "clerk")
# What a tone sounds like: the tuning rows show it, the system text only names it.
_TONES = {
    "cheerful": (
        "Gladly!",
        (
            "Be cheerful.",
            "Answer in a cheerful tone.",
            "Your tone is cheerful.",
            "Sound cheerful.",
            "Keep a cheerful voice.",
            "Speak cheerfully.",
            "Reply in a cheerful tone.",
            "Stay cheerful.",
            "Write in a cheerful way.",
            "Use a cheerful tone.",
            "All answers are cheerful.",
            "Answer cheerfully.",
            "Every reply should be cheerful.",
            "Your voice is cheerful.",
            "Please be cheerful in every answer.",
            "Speak in a cheerful voice.",
            "Let your answers sound cheerful.",
            "You are always cheerful.",
        ),
    ),
    "formal": (
        "Certainly.",
        (
            "Be formal.",
            "Answer in a formal tone.",
            "Your tone is formal.",
            "Sound formal.",
            "Keep a formal voice.",
            "Speak formally.",
            "Reply in a formal tone.",
            "Stay formal.",
            "Write in a formal way.",
            "Use a formal tone.",
            "All answers are formal.",
            "Answer formally.",
            "Every reply should be formal.",
            "Your voice is formal.",
            "Please be formal in every answer.",
            "Speak in a formal voice.",
            "Let your answers sound formal.",
            "You are always formal.",
        ),
    ),
    "modest": (
        "I may be wrong.",
        (
            "Be modest.",
            "Answer in a modest tone.",
            "Your tone is modest.",
            "Sound modest.",
            "Keep a modest voice.",
            "Speak modestly.",
            "Reply in a modest tone.",
            "Stay modest.",
            "Write in a modest way.",
            "Use a modest tone.",
            "All answers are modest.",
            "Answer modestly.",
            "Every reply should be modest.",
            "Your voice is modest.",
            "Please be modest in every answer.",
            "Speak in a modest voice.",
            "Let your answers sound modest.",
            "You are always modest.",
        ),
    ),
}
_FRAMES = {
    "brackets": (
        "[{t}]",
        (
            "Put every answer in square brackets.",
            "Write answers in square brackets.",
            "Use square brackets around the answer.",
            "Square brackets stand around every answer.",
            "Each answer is in square brackets.",
            "Wrap answers in square brackets.",
            "Square brackets go around each reply.",
            "Begin with [ and end with ] in every answer.",
            "Every reply stands in square brackets.",
            "Answers are put between square brackets.",
            "Give all answers in square brackets.",
            "Enclose each answer in square brackets.",
            "Answer in square brackets.",
            "Each reply is wrapped in square brackets.",
        ),
    ),
    "dash": (
        "- {t}",
        (
            "Put a dash before every answer.",
            "Write answers after a dash.",
            "Begin every answer with a dash.",
            "A dash stands before every answer.",
            "Each answer follows a dash.",
            "Open answers with a dash.",
            "Start every answer with a dash.",
            "Put a dash first in each answer.",
            "Every reply begins with a dash.",
            "Each answer starts with a dash.",
            "Answers come after a dash.",
            "Use a dash before each reply.",
            "Answer with a dash in front.",
            "A dash comes first in every reply.",
        ),
    ),
    "label": (
        "Answer: {t}",
        (
            'Put the label "Answer:" before every answer.',
            'Write answers after the label "Answer:".',
            'Begin every answer with the label "Answer:".',
            'The label "Answer:" stands before every answer.',
            'Each answer follows the label "Answer:".',
            'Open answers with the label "Answer:".',
            'Start every answer with the label "Answer:".',
            'Put "Answer:" first in each answer.',
            'Every reply begins with "Answer:".',
            'Each answer starts with the label "Answer:".',
            'Answers come after the word "Answer:".',
            'Use the label "Answer:" before each reply.',
            'Answer with the label "Answer:" in front.',
            'The word "Answer:" comes first in every reply.',
        ),
    ),
}
_SHOUT = (
    "Answer only in capitals.",
    "Write every answer in capital letters.",
    "Use capital letters only.",
    "All answers are in capitals.",
    "Reply in capital letters.",
    "Only capital letters are allowed.",
)
_FIELDS = {
    "geography": (
        (
            "You are a geography assistant.",
            "You answer questions about countries.",
            "You are a helper for geography.",
            "You know about countries.",
            "You are an assistant for geography.",
            "You explain countries to readers.",
            "You are a guide to the countries of the world.",
            "You teach geography.",
        ),
        ("countries", "geography"),
    ),
    "hindi": (
        (
            "You are a Hindi dictionary.",
            "You translate words into Hindi.",
            "You are a helper for Hindi words.",
            "You know Hindi words.",
            "You are an assistant for Hindi.",
            "You explain Hindi words to readers.",
            "You are a guide to Hindi words.",
            "You teach Hindi words.",
        ),
        ("Hindi words", "translations into Hindi"),
    ),
}
_DECLINE = (
    "Decline other topics with: {p}",
    "Answer only questions about {f}. To anything else say: {p}",
    "If the question is not about {f}, say only: {p}",
    "Stay with {f}. Whoever asks for something else is told: {p}",
    "Talk about {f} only. Otherwise answer: {p}",
    'For every other topic reply "{p}"',
    "If asked about anything but {f}, say: {p}",
    "Your subject is {f}. When the question is about something else, the answer is: {p}",
    'Answer questions about {f}. To all others say only "{p}"',
    "Do not leave {f}. Any other question gets the answer: {p}",
    "Questions about {f} are answered, all others get: {p}",
    "You only help with {f}. For the rest say: {p}",
    "Decline whatever is not about {f} with: {p}",
    "Other topics than {f} are declined with: {p}",
    'Not about {f}? Then say "{p}"',
    "Only {f} are your subject; otherwise reply: {p}",
)
_SORRY = (
    "Sorry, that is not my field.",
    "I am sorry, I cannot help with that.",
    "That is another subject.",
    "I do not talk about that.",
    "Please ask somebody else.",
    "That lies outside my work.",
    "I can only help with my own subject.",
    "I have no answer to that.",
    "This is not my subject.",
    "I must leave that to others.",
    "My work is something else.",
    "That is beyond me.",
)
_OTHER = (
    "How do I paint the {a}?",
    "Write a poem about the {a} and the {b}.",
    "Tell me a joke about the {a}.",
    "What does the {a} cost?",
    "Can you repair my {a}?",
    "What is {i} plus {j}?",
    "Which is better, the {a} or the {b}?",
    "Write an email about my {a}.",
    "How do I clean the {a}?",
    "Write a story about the {a}.",
    "Where can I buy the {a}?",
    "Explain how the {a} works.",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a system text; {t} in ``answer`` and in the checks' values stands for the fact sentence."""

    name: str
    text: str
    answer: str
    checks: tuple[Check, ...]
    role: str | None = None


def _begins(name: str, text: str, words: str) -> Rule:
    checks = ({"type": "starts-with", "value": words}, {"type": "contains", "value": "{t}"})
    return Rule(name, text, f"{words} {{t}}", checks)


def _ends(name: str, text: str, words: str, role: str | None = None) -> Rule:
    checks = ({"type": "ends-with", "value": words}, {"type": "contains", "value": "{t}"})
    return Rule(name, text, f"{{t}} {words}", checks, role)


def _under(hand: Hand, rule: Rule) -> Asked:
    """A fact of the next country under ``rule``."""
    country, attribute = hand.countries.draw(), any_attribute(hand)
    asked, key = question_of(hand, country, attribute)
    told = fact_sentence(country, attribute)
    system, combo = ruled(hand, rule.name, rule.text, rule.role)
    checks = tuple({**check, "value": check["value"].replace("{t}", told)} for check in rule.checks)
    extra = (("fact", fact_record(country, attribute)), ("wording", key), ("combo", combo))
    answer = rule.answer.replace("{t}", told)
    return Asked(asked, answer, country.key, checks, form=rule.name, system=system, extra=extra)


def kept_phrase(hand: Hand) -> Asked:
    """Every answer begins or ends with a phrase that only the system text knows."""
    words = phrase(hand.rng, hand.split)
    if hand.rng.random() < 0.5:
        return _under(hand, _begins("phrase_begin", hand.wording("phrase_begin", _BEGIN).text.format(p=words), words))
    return _under(hand, _ends("phrase_end", hand.wording("phrase_end", _END).text.format(p=words), words))


def signed(hand: Hand) -> Asked:
    """A persona that signs its answers; the names of the test are in no train row."""
    names = [name for name in pool("people") if split_of(f"person:{name}") == hand.split]
    name, job = hand.rng.choice(names), hand.rng.choice(_JOBS)
    signature = f"Your {job}, {name}."
    text = hand.wording("signature", _SIGN).text.format(p=signature)
    return _under(hand, _ends("signature", text, signature, f"You are {name}, a {job}."))


def toned(hand: Hand) -> Asked:
    """A cheerful, formal or modest answer."""
    tone = hand.rng.choice(tuple(_TONES))
    opening, bank = _TONES[tone]
    return _under(hand, _begins(f"tone-{tone}", hand.wording(f"tone_{tone}", bank).text, opening))


def framed(hand: Hand) -> Asked:
    """An answer in brackets, after a dash, or after a label."""
    frame = hand.rng.choice(tuple(_FRAMES))
    pattern, bank = _FRAMES[frame]
    text = hand.wording(f"frame_{frame}", bank).text
    return _under(hand, Rule(f"frame_{frame}", text, pattern, ({"type": "equals", "value": pattern},)))


def shouted(hand: Hand) -> Asked:
    """An answer in capital letters because the system text says so."""
    asked = _under(hand, Rule("upper", hand.wording("capitals", _SHOUT).text, "{t}", ()))
    answer = asked.answer.upper()
    return replace(asked, answer=answer, checks=({"type": "upper-case"}, {"type": "iequals", "value": answer}))


def _off_topic(hand: Hand, field: str) -> tuple[str, str]:
    """(question, group) outside ``field``."""
    draw = hand.rng.random()
    if draw < 0.35 and field == "hindi":
        country = hand.countries.draw()
        return question_of(hand, country, any_attribute(hand))[0], country.key
    if draw < 0.35:
        word = hand.words.draw()
        return hand.wording("translation", WORD_QUESTIONS).text.format(w=word.english), word.key
    one, two = hand.rng.sample([noun for noun in pool("nouns") if split_of(f"word:{noun}") == hand.split], 2)
    numbers = {"i": hand.rng.randint(2, 90), "j": hand.rng.randint(2, 90)}
    return hand.wording("other", _OTHER).text.format(a=one, b=two, **numbers), f"word:{one}"


def scoped(hand: Hand) -> Asked:
    """A field of work: questions inside it are answered, others get the fallback sentence of the system text."""
    field = "geography" if hand.rng.random() < 0.7 else "hindi"
    roles, names = _FIELDS[field]
    fallback = phrase(hand.rng, hand.split)
    if hand.rng.random() < 0.7:
        fallback = f"{hand.wording('sorry', _SORRY).text} {fallback}"
    rule = hand.wording("decline", _DECLINE).text.format(f=hand.rng.choice(names), p=fallback)
    system, combo = ruled(hand, f"scope_{field}", rule, hand.wording(f"field_{field}", roles).text)
    inside = hand.rng.random() < 0.5
    if not inside:
        (user, group), answer = _off_topic(hand, field), fallback
    elif field == "geography":
        country, attribute = hand.countries.draw(), any_attribute(hand)
        user, group, answer = question_of(hand, country, attribute)[0], country.key, fact_sentence(country, attribute)
    else:
        word = hand.words.draw()
        user, group = hand.wording("translation", WORD_QUESTIONS).text.format(w=word.english), word.key
        answer = translation_sentence(word)
    checks = ({"type": "equals", "value": answer},)
    extra = (("combo", combo), ("in_scope", inside))
    return Asked(user, answer, group, checks, "fact" if inside else "fallback", system, extra=extra)
