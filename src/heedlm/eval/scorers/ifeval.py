"""The 25 kinds of instruction of IFEval, checked by the code that lm-eval maintains."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from heedlm.errors import HeedError, nearest
from heedlm.eval.scorers.reading import loose_variants, unread
from heedlm.eval.scorers.scorer import Options
from heedlm.messages import Example, Reply, Score

# Arguments that a checker asks for by name and takes from the prompt.
_FROM_PROMPT = frozenset(("prompt", "prompt_to_repeat"))


@lru_cache(maxsize=1)
def checkers() -> Mapping[str, Any]:
    """lm-eval's checker classes by the id of their instruction, such as "punctuation:no_comma".

    Loading them fetches nothing. Two kinds want the sentence model of NLTK (`python -m nltk.downloader punkt_tab`); where
    it is not there they get NLTK's untrained one, see `stands_in`. Raises HeedError where lm-eval is not installed.
    """
    try:
        import langdetect
        import nltk
    except ImportError:
        raise HeedError("IFEval needs lm-eval.", "scorer ifeval", "pip install 'heedlm[eval]'") from None
    fetch = nltk.download
    nltk.download = lambda *asked, **how: False  # lm-eval would fetch the sentence model as it is imported
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from lm_eval.tasks.ifeval import instructions, instructions_registry, instructions_util
    except ImportError:
        raise HeedError("IFEval needs lm-eval.", "scorer ifeval", "pip install 'heedlm[eval]'") from None
    finally:
        nltk.download = fetch
    langdetect.DetectorFactory.seed = 0  # it draws; the same reply has the same language every time
    if stands_in():
        from nltk.tokenize import NLTKWordTokenizer, PunktSentenceTokenizer

        sentences, words = PunktSentenceTokenizer(), NLTKWordTokenizer()

        def word_tokenize(text: str) -> list[str]:
            return [word for sentence in sentences.tokenize(text) for word in words.tokenize(sentence)]

        # Put into lm-eval's modules alone: nltk stays as it is for everybody else.
        instructions_util.nltk = SimpleNamespace(tokenize=nltk.tokenize, data=nltk.data, word_tokenize=word_tokenize)
        instructions_util._get_sentence_tokenizer = lambda: sentences
    instructions.logger.setLevel("CRITICAL")  # a language that cannot be told counts as followed, and is said each time
    found: Mapping[str, Any] = instructions_registry.INSTRUCTION_DICT
    return found


@lru_cache(maxsize=1)
def stands_in() -> bool:
    """Whether sentences are counted by NLTK's untrained model, because the trained one is not on this machine."""
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        return True
    return False


def verdicts(example: Example, reply: str, *, loose: bool) -> list[bool]:
    """For each instruction of an item, whether the reply follows it; an empty reply follows none.

    loose: one of `loose_variants` follows it. The instruments are lm-eval's, and are given what lm-eval gives them.
    """
    prompt = str(example.meta.get("prompt") or example.messages[-2].content)
    tried = [text for text in (loose_variants(reply) if loose else [reply]) if text.strip()]
    found = []
    for name, given in zip(example.meta["instruction_id_list"], example.meta["kwargs"], strict=True):
        checker = checkers()[name](name)
        checker.build_description(**{key: value for key, value in given.items() if value})
        asked = checker.get_instruction_args()
        if asked and "prompt" in asked:
            checker.build_description(prompt=prompt)
        if asked and "letter" in given and str(given["letter"]).lower() != asked.get("letter"):
            checker._letter = str(
                given["letter"]
            ).lower()  # lm-eval draws a letter by chance in place of a sign such as #
        found.append(any(bool(checker.check_following(text)) for text in tried))
    return found


def ifeval(example: Example, reply: Reply, options: Options) -> Score:
    """1.0 when every instruction is followed; with `level: instruction` the share of them that is."""
    if not reply.text.strip():
        return unread("empty", "an empty reply follows nothing")
    names, found = example.meta["instruction_id_list"], verdicts(example, reply.text, loose=options["loose"])
    missed = [name for name, followed in zip(names, found, strict=True) if not followed]
    value = sum(found) / len(found) if options["level"] == "instruction" else float(not missed)
    return Score(value, reply.text, f"not followed: {', '.join(missed)}" if missed else f"{len(found)} followed")


def ifeval_problems(example: Example, options: Options) -> list[tuple[str, str]]:
    """What is wrong with the instructions of an item: an unknown id, arguments that are missing or unknown."""
    ids: Any = example.meta.get("instruction_id_list")
    given: Any = example.meta.get("kwargs")
    mend = '"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]'
    if not _is_list(ids, str) or not _is_list(given, Mapping) or not ids or len(ids) != len(given):
        return [("an item of IFEval has a list of instruction ids, and as many objects with their arguments", mend)]
    problems = []
    for name, arguments in zip(ids, given, strict=True):
        if name not in checkers():
            problems.append((f"unknown instruction {name!r}", nearest(name, checkers())))
            continue
        problems += _argument_problems(name, {key: value for key, value in arguments.items() if value is not None})
    return problems


def _argument_problems(name: str, given: Mapping[str, Any]) -> list[tuple[str, str]]:
    wanted = set(checkers()[name](name).get_instruction_args_keys())
    told = {key for key, value in given.items() if value}  # lm-eval takes 0 and "" for missing
    odd, missing = set(given) - wanted, wanted - told - _FROM_PROMPT
    problems = [(f"{name} has no argument {key!r}", nearest(key, wanted or {"none"})) for key in sorted(odd)]
    # lm-eval draws what is missing by chance: an item would then be judged by something that it never asked for.
    problems += [(f"{name} lacks the argument {key!r}", f"add {key!r} to its kwargs") for key in sorted(missing)]
    if not problems:
        try:
            checkers()[name](name).build_description(**{key: value for key, value in given.items() if value})
        except Exception as error:  # noqa: BLE001 - whatever lm-eval says of a value is the user's to mend
            problems.append((f"{name} refuses its arguments: {error}", "mend its kwargs"))
    return problems


def _is_list(value: Any, of: type) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, of) for one in value)
