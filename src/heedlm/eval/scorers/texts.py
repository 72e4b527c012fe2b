"""Scorers that compare the text of a reply with the texts that are right."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from heedlm.eval import text
from heedlm.eval.match import word_f1
from heedlm.eval.scorers.reading import unread
from heedlm.eval.scorers.scorer import Options, best, targets
from heedlm.messages import Example, Reply, Score

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

_ARTICLES = frozenset(("a", "an", "the"))


def normalised(value: str) -> str:
    """Case folded, without punctuation and English articles, white space collapsed.

    Source: the answer comparison of SQuAD (arXiv 1606.05250), with Unicode's punctuation in place of ASCII's.
    """
    plain = "".join(
        " " if unicodedata.category(char)[0] == "P" and char not in "'’" else char for char in text.fold(value)
    )
    return " ".join(word for word in plain.replace("'", "").replace("’", "").split() if word not in _ARTICLES)


def _compared(prepare: Callable[[str], str], example: Example, reply: Reply) -> Score:
    found, wanted = prepare(reply.text), [prepare(target) for target in targets(example)]
    if found in wanted:
        return Score(1.0, found, "as the target")
    return Score(0.0, found, f"expected {_shown(wanted)}, found {_cut(found)!r}")


def exact(example: Example, reply: Reply, options: Options) -> Score:
    """1.0 when the reply is one of the targets, white space collapsed."""
    return _compared(text.collapse if options["case"] else text.fold, example, reply)


def normalised_match(example: Example, reply: Reply, options: Options) -> Score:
    """1.0 when the reply is one of the targets after `normalised`. A target that is all punctuation is compared as it stands."""
    return _compared(lambda value: normalised(value) or text.fold(value), example, reply)


def contains(example: Example, reply: Reply, options: Options) -> Score:
    """1.0 when one of the targets occurs in the reply as whole words, case folded."""
    for target in targets(example):
        if text.occurrences(target, reply.text):
            return Score(1.0, target, "found in the reply")
    return Score(0.0, reply.text, f"{_shown(targets(example))} not in the reply")


def regex(example: Example, reply: Reply, options: Options) -> Score:
    """1.0 when the pattern is found; where it has a group, when the last find's group is one of the targets."""
    found = list(re.finditer(options["pattern"], reply.text))
    if not found:
        return unread("no match", f"the pattern {options['pattern']!r} is not found")
    last = found[-1]
    if not last.re.groups:
        return Score(1.0, last[0], "the pattern is found")
    caught = next((group for group in last.groups() if group is not None), "")
    if text.fold(caught) in [text.fold(target) for target in targets(example)]:
        return Score(1.0, caught, "as the target")
    return Score(0.0, caught, f"expected {_shown(targets(example))}, found {_cut(caught)!r}")


def regex_problems(example: Example, options: Options) -> list[tuple[str, str]]:
    try:
        groups = re.compile(options["pattern"]).groups
    except re.error as error:
        return [(f"{options['pattern']!r} is no pattern: {error}", "mend `pattern` of the scorer")]
    if groups and not any(targets(example)):
        return [
            ("the pattern has a group, and the item no target to compare it with", 'add "target", or write (?:...)')
        ]
    return []


def f1(example: Example, reply: Reply, options: Options) -> Score:
    """F1 of the words that reply and target share, each counted as often as it occurs, case folded; the best target."""
    return best([word_f1(target, reply.text) for target in targets(example)])


class _Words:
    """The tokenizer that rouge-score is given: its own one drops every letter outside a-z."""

    def tokenize(self, value: str) -> list[str]:
        return text.words(text.fold(value))


@lru_cache(maxsize=1)
def _rouge() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


def rouge_l(example: Example, reply: Reply, options: Options) -> Score:
    """F measure of the longest common subsequence of words; the best target. Library: rouge-score."""
    scores = []
    for target in targets(example):
        found: Any = _rouge().score(target, reply.text)["rougeL"]
        why = f"precision {found.precision:.3f}, recall {found.recall:.3f}"
        scores.append(Score(float(found.fmeasure), reply.text, why))
    return best(scores)


def bleu(example: Example, reply: Reply, options: Options) -> Score:
    """BLEU of one reply, 0..1, orders without a possible match left out. Library: sacrebleu."""
    import sacrebleu

    found = sacrebleu.sentence_bleu(reply.text, list(targets(example)), tokenize=options["tokenize"])
    return Score(min(1.0, found.score / 100), reply.text, f"sentence BLEU {found.score:.1f}")


def chrf(example: Example, reply: Reply, options: Options) -> Score:
    """chrF of one reply, 0..1; with `words` 2 it is chrF++. Library: sacrebleu."""
    import sacrebleu

    found = sacrebleu.sentence_chrf(reply.text, list(targets(example)), word_order=int(options["words"]))
    return Score(min(1.0, found.score / 100), reply.text, f"sentence chrF {found.score:.1f}")


def corpus_score(name: str, options: Options, examples: Sequence[Example], replies: Sequence[str]) -> tuple[float, str]:
    """BLEU or chrF of all replies together, 0..100, which is no mean of items, and sacrebleu's signature of it."""
    from sacrebleu.metrics import BLEU, CHRF

    metric: Any = BLEU(tokenize=options["tokenize"]) if name == "bleu" else CHRF(word_order=int(options["words"]))
    most = max(len(targets(example)) for example in examples)
    # sacrebleu wants streams of equal length; None stands for a target that an item does not have.
    streams = [[dict(enumerate(targets(example))).get(place) for example in examples] for place in range(most)]
    found = metric.corpus_score(list(replies), streams)
    return float(found.score), str(metric.get_signature())


def _shown(values: Sequence[str]) -> str:
    return " or ".join(repr(_cut(value)) for value in values[:3]) + (" or others" if len(values) > 3 else "")


def _cut(value: str, most: int = 80) -> str:
    return value if len(value) <= most else value[: most - 1] + "…"
