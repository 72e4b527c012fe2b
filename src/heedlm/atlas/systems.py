"""System texts: a role with a rule, written in one of eight notations."""

from __future__ import annotations

from heedlm.atlas.facts import pool
from heedlm.atlas.hands import Hand

_NOTATIONS = {
    "markdown": "# Role\n{role}\n\n# Rules\n- {rule}",
    "xml": "<role>{role}</role>\n<rule>{rule}</rule>",
    "labels": "Role: {role}\nRule: {rule}",
    "plain": "{role} {rule}",
    "bold": "**Role:** {role}\n**Rule:** {rule}",
    "brackets": "[role] {role}\n[rule] {rule}",
    "capitals": "ROLE\n{role}\n\nRULE\n{rule}",
    "numbers": "1. {role}\n2. {rule}",
}
NOTATIONS = tuple(_NOTATIONS)
ROLES = (
    "You are a friendly assistant.",
    "You are an assistant at the town library.",
    "You help travellers.",
    "You are a teacher's helper.",
    "You answer questions from readers.",
    "You are {name}, an assistant.",
    "You are {name}, and you work at the information desk.",
    "You are a patient helper for beginners.",
    "You work for a school.",
    "You are a helpful assistant.",
)
# Rules that change nothing: an ordinary answer already keeps them.
_IDLE = (
    "Answer briefly.",
    "Keep your answers short.",
    "Be polite.",
    "Answer in English.",
    "Answer the question.",
    "Be kind.",
    "Be clear.",
)


def write_system(notation: str, role: str, rule: str) -> str:
    """``role`` and ``rule`` as Markdown headings, XML tags, label lines, plain sentences, or in a lighter mark-up."""
    return _NOTATIONS[notation].format(role=role, rule=rule)


def role_of(hand: Hand) -> str:
    """A role that has nothing to do with the task."""
    return hand.wording("role", ROLES).text.format(name=hand.rng.choice(pool("people")))


def ruled(hand: Hand, kind: str, rule: str, role: str | None = None) -> tuple[str, str]:
    """A system text with ``rule`` and the key of its combination, such as ``xml/phrases``.

    kind: of the rule. Rules that are opposites are of one kind: had "begin with" and "end with" been held out in different
    notations, the notation would have told them apart in tuning, and it is learnt before the words (docs/log.md).
    """
    combination = hand.combination(kind, NOTATIONS)
    return write_system(combination.split("/")[0], role or role_of(hand), rule), combination


def idle_system(hand: Hand) -> str:
    """A system text that leaves the answer as it is."""
    if hand.rng.random() < 0.4:
        return role_of(hand)
    return ruled(hand, "idle", hand.wording("idle", _IDLE).text)[0]
