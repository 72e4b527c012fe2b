"""Checkpoints of a training as models that answer: RUN@step-400, rebuilt from the run's recipe and the weights of a step."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heedlm.config import Recipe
from heedlm.errors import HeedError, nearest
from heedlm.pretrain_config import PretrainRecipe
from heedlm.recipe_file import load_recipe
from heedlm.runs import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from heedlm.generate.chat import LocalChat

BEST, LAST = "best", "last"
_STEP = re.compile(r"(?:step-)?0*(\d+)")


class Checkpoint(NamedTuple):
    """The weights of one step of a run that was not finished.

    folder: the checkpoint that was written whole, with its manifest.   weights: the file; of `best` it lies beside the folder.
    """

    run: Run
    step: int
    folder: Path
    weights: Path

    @property
    def plain(self) -> bool:
        """Whether it is of a pretraining: a base model, which is asked in plain text."""
        return "pretrain" in self.run.info()

    @property
    def base(self) -> str | None:
        """The model that the run tunes, as its recipe names it; None where it begins with nothing."""
        if self.plain:
            start = load_recipe(PretrainRecipe, self.run.recipe).start
            return None if start is None else str(start)
        return str(load_recipe(Recipe, self.run.recipe).model.path)


def is_checkpoint(name: str | Path) -> bool:
    """Whether a name is meant as a checkpoint: RUN@STEP, or RUN/checkpoints/step-N."""
    return _split(name) is not None


def run_behind(name: str | Path) -> Path:
    """The folder whose data belongs to a model's name: of a checkpoint its run, of all else the name itself."""
    found = _split(name)
    return Path(name) if found is None else found[0]


def checkpoint_of(name: str | Path) -> Checkpoint:
    """The checkpoint behind a name: RUN@step-400, RUN@400, RUN@best, RUN@last or RUN/checkpoints/step-000400.

    Raises HeedError where there is none of that step, with those that there are, and for one that is not whole.
    """
    found = _split(name)
    assert found is not None, "the caller asks `is_checkpoint` first"
    root, wanted = found
    run = Run.open(root)
    folders = {int(path.name.removeprefix("step-")): path for path in run.checkpoints.glob("step-*") if path.is_dir()}
    if not folders:
        finished = (run.model / "config.json").is_file()
        mend = f"its result is {root}" if finished else "give the command that began it once more"
        what = "This run has no checkpoints" + (": they are removed once the result is saved." if finished else " yet.")
        raise HeedError(what, str(name), mend)
    newest = folders[max(folders)]
    if wanted == LAST:
        wanted = str(max(folders))
    manifest = _manifest(newest)
    best = manifest.get("best")
    if wanted == BEST:
        if best is None:
            mend = f"{root}@{LAST}, or train with validation rows"
            raise HeedError("No evaluation has chosen a best step of this run yet.", str(name), mend)
        wanted = str(best["step"])
    number = _STEP.fullmatch(wanted)
    step = int(number.group(1)) if number else -1
    if step in folders:
        return _whole(run, step, folders[step], folders[step] / "weights.safetensors")
    if best is not None and best["step"] == step:
        return _whole(run, step, newest, run.checkpoints / f"best-{step:06d}.safetensors")
    known = [*(f"step-{one}" for one in sorted(folders)), *([f"{BEST} (step {best['step']})"] if best else []), LAST]
    near = "" if number else f"{nearest(wanted, [BEST, LAST])} "
    what = "There is no such checkpoint." if number else "A checkpoint is named by its step."
    raise HeedError(what, str(name), f"{near}of this run there are: {', '.join(known)}")


def load_checkpoint(place: Checkpoint, name: str) -> LocalChat:
    """The model as the run would save it now: its base, what has been learnt, the template it is taught in.

    Adapters are merged, and weights rounded to what the base's files hold, as in a result; a base model in the making has
    no template. Raises HeedError where the base cannot be loaded or does not fit.
    """
    from heedlm.generate.chat import LocalChat
    from heedlm.templates.chat import load_template

    model, tokenizer = _pretrained(place) if place.plain else _tuned(place)
    model.requires_grad_(False)
    return LocalChat(model, tokenizer, load_template(None, tokenizer), name=name)


def _pretrained(place: Checkpoint) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import torch

    from heedlm.model.fresh import new_model
    from heedlm.model.load import load_model, pick_device, resolve, serving_dtype
    from heedlm.tokens.tokenizer import load_tokenizer
    from heedlm.train.pretrain import calm_unseen_tokens

    recipe = load_recipe(PretrainRecipe, place.run.recipe)
    if recipe.start:
        tokenizer, model = load_tokenizer(resolve(recipe.start)), load_model(recipe.start)
    else:
        tokenizer = load_tokenizer(place.run.root / "tokenizer")
        model = new_model(recipe.shape, tokenizer, recipe.seed)
    _put(place, model)
    calm_unseen_tokens(model, tokenizer)
    device = pick_device("auto")
    return model.to(torch.bfloat16).to(device, serving_dtype(device)), tokenizer  # a base is saved in bf16


def _tuned(place: Checkpoint) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from heedlm.model.load import pick_device, resolve, serving_dtype, stored_dtype
    from heedlm.model.merge import merged
    from heedlm.model.method import load_base, make_trainable
    from heedlm.tokens.store import read_index
    from heedlm.tokens.tokenizer import load_tokenizer

    recipe = load_recipe(Recipe, place.run.recipe).model
    template = read_index(place.run.tokens)["template"]
    device = pick_device("auto")
    tokenizer = load_tokenizer(resolve(recipe.path), recipe.trust_remote_code)
    base = load_base(recipe, tokenizer, device, _quiet)
    model = make_trainable(base, recipe, _quiet)
    _put(place, model)
    if recipe.method == "lora":
        model = merged(model)
    if recipe.method != "qlora":
        model = model.to(stored_dtype(recipe.path, trust_remote_code=recipe.trust_remote_code)).to(
            serving_dtype(device)
        )
    tokenizer.chat_template = template["source"]
    if model.generation_config is not None:
        model.generation_config.eos_token_id = [int(stop) for stop in template["stop_ids"]]
    return model, tokenizer


def _put(place: Checkpoint, model: PreTrainedModel) -> None:
    from safetensors.torch import load_file

    from heedlm.train.checkpoint import put

    try:
        put(model, load_file(place.weights))
    except (OSError, KeyError, RuntimeError) as error:
        raise _unfit(place, error) from error


def _split(name: str | Path) -> tuple[Path, str] | None:
    """The run and the step in a name; None where it is no checkpoint's."""
    path = Path(name)
    if path.parent.name == "checkpoints" and (path.parent.parent / "run.json").is_file():
        return path.parent.parent, path.name
    root, mark, step = str(name).rpartition("@")
    if mark and step and not path.exists() and (Path(root) / "run.json").is_file():
        return Path(root), step
    return None


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "manifest.json").read_text("utf8")))
    except (OSError, ValueError):
        return {}


def _whole(run: Run, step: int, folder: Path, weights: Path) -> Checkpoint:
    """The checkpoint, its weights compared with the checksum they were written with."""
    from heedlm.train.checkpoint import VERSION
    from heedlm.train.tensorfile import checksum

    manifest = _manifest(folder)
    if manifest and manifest.get("version") != VERSION:
        what = f"This checkpoint has format version {manifest.get('version')}, this heed reads {VERSION}."
        raise HeedError(what, str(folder), "use the heed that wrote it")
    beside = weights.parent == folder
    told = manifest.get("sha256", {}).get(weights.name) if beside else (manifest.get("best") or {}).get("sha256")
    try:
        same = told is not None and checksum(weights) == told
    except OSError:
        same = False
    if not same:
        what = "This checkpoint is not whole: its weights are not what was written."
        raise HeedError(what, str(weights), "name another step; a training that goes on removes old ones")
    return Checkpoint(run, step, folder, weights)


def _unfit(place: Checkpoint, error: Exception) -> HeedError:
    reason = str(error).strip().split("\n")[0]
    what = f"The checkpoint does not fit the model that its recipe names: {reason}"
    return HeedError(what, str(place.weights), "put the base back as it was when the run began")


def _quiet(line: str) -> None:
    """Nobody hears how a model is prepared that is only asked."""


__all__ = ["BEST", "LAST", "Checkpoint", "checkpoint_of", "is_checkpoint", "load_checkpoint", "run_behind"]
