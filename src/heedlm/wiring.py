"""From a recipe and prepared rows to proved tokens: data, templates and tokens wired together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from heedlm.config import Recipe
from heedlm.errors import HeedError, Problem
from heedlm.launch import launched
from heedlm.runs import Run
from heedlm.train.earlier import taken

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from heedlm.messages import Example
    from heedlm.templates.chat import ChatTemplate

DEFAULT_MAX_TOKENS = 2048  # per sequence, where neither recipe nor model says


def refuse_early(recipe: Recipe) -> None:
    """Raises HeedError with all that can be told of a recipe's names before anything is loaded: model, files of data, chat
    template, suites. Of several processes the first one looks at the data."""
    from heedlm.data.named import refuse_missing
    from heedlm.eval.during_setup import check_exam
    from heedlm.model.load import resolve
    from heedlm.templates.chat import check_name

    def model() -> str:
        if not recipe.model.path:
            mend = "--model FOLDER, a hub id, or `atlas` for the built-in base model"
            raise HeedError("No model is named.", "model.path", mend)
        return resolve(recipe.model.path)

    looks: list[Callable[[], object]] = [model]
    if launched().first:
        looks.append(lambda: refuse_missing(recipe.data, here=True))
    looks += [lambda: check_name(recipe.templates.chat), lambda: check_exam(recipe.train)]
    problems: list[Problem] = []
    for look in looks:
        try:
            look()
        except HeedError as error:
            problems += error.problems
    if problems:
        raise HeedError.of(problems)


def examples_of(run: Run) -> dict[str, list[Example]]:
    """The prepared examples of a run by split."""
    from heedlm.data.store import read_split

    paths = {name: run.data / f"{name}.jsonl" for name in ("train", "val", "test")}
    return {name: list(read_split(path)) for name, path in paths.items() if path.is_file()}


def tokenise_run(recipe: Recipe, run: Run, splits: Mapping[str, list[Example]], say: Callable[[str], None]) -> Wire:
    """Render, encode and prove the training and validation rows into the run's token store."""
    from heedlm.data.documents import read_documents
    from heedlm.data.learned import pages
    from heedlm.data.mixture import mixture_of
    from heedlm.model.load import configured_context, resolve
    from heedlm.tokens.tokenise import Limits, tokenise

    files = {example.source.rpartition(":")[0] for example in splits.get("train", [])}
    mixture = mixture_of(recipe.data, sorted(files))  # a name that is unknown is refused before anything is loaded
    wire = wire_of(recipe, splits.get("train", []))
    for line in wire.notes:
        say(line)
    context = configured_context(resolve(recipe.model.path), trust_remote_code=recipe.model.trust_remote_code)
    limit = recipe.tokens.max_tokens or context or DEFAULT_MAX_TOKENS
    if context is not None and limit > context:
        what = f"tokens.max_tokens is {limit:,}, the model sees {context:,} tokens."
        raise HeedError(what, "tokens.max_tokens", f"--set tokens.max_tokens={context}")
    tokenise(
        run.tokens,
        wire.template,
        wire.tokenizer,
        {name: rows for name, rows in splits.items() if name != "test"},
        [text for path in recipe.data.replay for text in read_documents(path)],
        Limits(limit, recipe.tokens.overflow, recipe.templates.learn_reasoning, recipe.data.replay_share, recipe.seed),
        say,
        frozen=taken(run),
        mixture=mixture,
        pages=pages,
    )
    return wire


def rendered(recipe: Recipe, examples: Sequence[Example]) -> tuple[tuple[tuple[str, bool], ...], ...]:
    """Each example as the recipe's model would see it: stretches of text, each learned or not; or why it cannot be."""
    from heedlm.tokens.show import shown_sequences

    wire = wire_of(recipe, examples)
    found: list[tuple[tuple[str, bool], ...]] = []
    for example in examples:
        try:
            shown = shown_sequences(
                wire.template, wire.tokenizer, [example], 1, learn_reasoning=recipe.templates.learn_reasoning
            )
            found.append(tuple(piece for one in shown for piece in (*one.pieces, ("\n", False))))
        except HeedError as error:  # one row that a template refuses says nothing about the others
            found.append(((f"cannot be rendered: {error}", False),))
    return tuple(found)


class Wire(NamedTuple):
    """A model's tokenizer and the chat template that holds for it, with what must be said about them."""

    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    notes: list[str]


def wire_of(recipe: Recipe, examples: Sequence[Example]) -> Wire:
    """The wire of a recipe's model, its template fitted to the examples."""
    from heedlm.model.load import resolve
    from heedlm.templates.chat import load_template, stop_ids, with_defaults
    from heedlm.templates.settle import settle
    from heedlm.templates.system import default_system
    from heedlm.tokens.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(resolve(recipe.model.path), recipe.model.trust_remote_code)
    template = load_template(recipe.templates.chat, tokenizer)
    if recipe.templates.kwargs:
        template = with_defaults(template, tokenizer, recipe.templates.kwargs)
    template = settle(template, tokenizer, examples)
    notes = [template.note] if template.note else []
    hidden = default_system(template, tokenizer)
    if hidden:
        notes.append(f"This template adds a system text of its own where a row has none: {hidden!r}")
    if template.grade == "soft":
        notes.append(
            f"{template.name} marks roles with ordinary text: a user who types those marks can imitate a turn (soft format)."
        )
    stops = stop_ids(template, tokenizer)
    stop = tokenizer.convert_ids_to_tokens(stops[0]) if stops else ""
    untrained = recipe.model.method != "full" and stop not in recipe.model.lora.tokens
    if untrained and tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in stops[:1]:
        notes.append(
            f"Answers end with {stop}, not with the base's own {tokenizer.eos_token}; adapters do not train its row. If the "
            f"model does not stop, train that row (model.lora.tokens=[{stop!r}]), or use a template that ends with eos "
            "(templates.chat=human_assistant), or model.method=full."
        )
    return Wire(tokenizer, template, notes)
