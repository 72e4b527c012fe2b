"""From a checkpoint to a module, safely: safetensors only, no remote code unless asked for by name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from heedlm.errors import HeedError
from heedlm.model import hub

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# The base model that ships with the package, under the name a person types.
SHIPPED = {"atlas": Path(__file__).resolve().parents[1] / "atlas" / "base"}


def resolve(name: str | Path) -> str:
    """The folder or hub id behind a name: `atlas` is the model in the package, a run folder means its result.

    Raises HeedError for what holds no model, here or on the hub, with the nearest names; the hub is asked once and briefly.
    """
    path = Path(name)
    if str(name) in SHIPPED and not path.exists():
        return str(SHIPPED[str(name)])
    if (path / "run.json").is_file():
        _check_finished(path)
        return str(path / "model")
    if path.exists():
        _check_folder(path)
        return str(name)
    if isinstance(name, Path) or _is_path(str(name)):
        mend = _near(name, _beside(path)) or "--model takes a folder, `atlas`, or a hub id like ORG/NAME"
        raise HeedError("There is no model folder here.", str(name), mend)
    try:
        return hub.locate(str(name))
    except HeedError as error:
        problem = error.problems[0]
        near = _near(name, _at_hand()) or f"known here: {_listed(_at_hand())}."
        raise HeedError(problem.what, problem.where, f"{near} Or {problem.mend}.") from None


def resolve_here(name: str | Path) -> str | None:
    """The same, if nothing has to be fetched for it; None where the model is not on this machine."""
    try:
        if Path(name).exists() or str(name) in SHIPPED:
            return resolve(name)
        held = hub.cached(str(name))
        return None if held is None else resolve(held)
    except HeedError:
        return None


def _is_path(name: str) -> bool:
    """Whether a name is meant as a path: by its looks, or because its first part is a folder here (then it is a typo)."""
    path = Path(name)
    return (
        name.startswith((".", "~", "runs/"))
        or path.is_absolute()
        or name.count("/") > 1
        or ("/" in name and _beside(path) != [])
    )


def _beside(path: Path) -> list[str]:
    """Folders in the place where `path` would be, none of them hidden."""
    if not path.parent.is_dir():
        return []
    return sorted(str(entry) for entry in path.parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _at_hand() -> list[str]:
    """Names that work here without a network: the model in the package, runs and model folders."""
    found = list(SHIPPED)
    for place in (Path(), Path("runs")):
        entries = sorted(place.iterdir()) if place.is_dir() else []
        found += [str(e) for e in entries if (e / "run.json").is_file() or (e / "config.json").is_file()]
    return found


def _near(name: str | Path, names: Sequence[str]) -> str:
    """``did you mean 'atlas'?``, by the whole name or its last part; empty where nothing is near."""
    parts = {Path(one).name.lower(): one for one in reversed(names)}
    close = difflib.get_close_matches(Path(name).name.lower(), parts, n=2, cutoff=0.6)
    return f"did you mean {' or '.join(repr(parts[one]) for one in close)}?" if close else ""


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def pick_device(wanted: str = "auto") -> torch.device:
    """`auto`: CUDA where there is one, else Apple's MPS, else the CPU. Raises HeedError for a device that is not there."""
    if wanted != "auto":
        try:
            torch.zeros(1, device=wanted)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().split("\n")[0]
            raise HeedError(
                f"There is no device {wanted!r} here: {reason}", "train.device", "--set train.device=auto"
            ) from None
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def serving_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which a model that only answers is held: bf16 where a GPU computes in it, which halves the memory; else
    fp32."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def load_model(
    name: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Any Hugging Face causal language model, ready on `device`.

    name: a folder, a run, `atlas`, or a hub id (fetched only because the user named it).   dtype: of its weights; fp32 by
    default, as masters for training.
    Raises HeedError for a missing folder, one without a model, or weights that are not safetensors.
    """
    from transformers import AutoModelForCausalLM

    path = resolve(name)
    try:
        with quiet_bars():
            model = AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, use_safetensors=True, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # a broken file surfaces as any of a dozen types, from KeyError to the Rust side's own
        raise _unloadable(path, error) from error
    return model.to(device)


@contextmanager
def quiet_bars() -> Iterator[None]:
    """No progress bars of transformers inside the block: they would run over ours, for work of less than a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_finished(run: Path) -> None:
    """Raises HeedError, with the command to run next, where a run holds no model yet."""
    if (run / "model" / "config.json").is_file():
        return
    facts = json.loads((run / "run.json").read_text("utf8"))
    commands = [facts[stage].get("command", "") for stage in ("pretrain", "train", "prepare") if stage in facts]
    begun = [command for command in commands if command.startswith(("heed train", "heed pretrain", "heed demo"))]
    if begun or "train" in facts or "pretrain" in facts:
        mend = f"go on with: {begun[0]}" if begun else "give the command that began it once more"
        raise HeedError("This run has no model yet: its training began and did not finish.", str(run), mend)
    raise HeedError(
        "This run has no model yet: its data is prepared, and nothing was trained.",
        str(run),
        f"heed train --model MODEL --run {run}   (MODEL: a folder, a hub id, or `atlas`)",
    )


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise HeedError("A model is a folder, and this is a file.", str(folder), "name the folder that holds it")
    if not (folder / "config.json").is_file():
        inside = [str(entry) for entry in sorted(folder.iterdir()) if (entry / "config.json").is_file()]
        mend = f"did you mean {inside[0]!r}?" if inside else "name the folder that holds config.json"
        raise HeedError("This folder holds no model: config.json is missing.", str(folder), mend)
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        what = (
            "This model's weights are pickled; heed reads safetensors only."
            if pickled
            else "This folder holds no weights."
        )
        mend = "save it again with model.save_pretrained(FOLDER), which writes safetensors"
        raise HeedError(what, str(folder), mend)


def context_length(model: PreTrainedModel) -> int | None:
    """Tokens that the model can see, or None where its config does not say."""
    return _context(model.config)


def configured_context(path: str, *, trust_remote_code: bool = False) -> int | None:
    """The same, from a checkpoint whose weights are not loaded."""
    from transformers import AutoConfig

    path = resolve(path)
    try:
        return _context(AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code))
    except Exception as error:
        raise _unloadable(path, error) from error


def configured_parameters(path: str, *, trust_remote_code: bool = False) -> int:
    """Weights that a checkpoint's configuration describes; none is loaded."""
    from transformers import AutoConfig, AutoModelForCausalLM

    path = resolve(path)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise _unloadable(path, error) from error
    return int(model.num_parameters())


def _context(config: PreTrainedConfig) -> int | None:
    text = config.get_text_config()
    for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value: Any = getattr(text, key, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _unloadable(path: str, error: Exception) -> HeedError:
    reason = str(error).strip().split("\n")[0]
    mend = "name a folder with a causal language model in Hugging Face layout"
    return HeedError(f"The model cannot be loaded: {reason}", path, mend)


def stored_dtype(name: str | Path, *, trust_remote_code: bool = False) -> torch.dtype:
    """The dtype in which a checkpoint's weights are stored: results are saved in the dtype their base came in."""
    from transformers import AutoConfig

    dtype = getattr(AutoConfig.from_pretrained(resolve(name), trust_remote_code=trust_remote_code), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32
