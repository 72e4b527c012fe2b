"""From a checkpoint to a module, safely: safetensors only, no remote code unless asked for by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from heedlm.errors import HeedError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# The base model that ships with the package, under the name a person types.
SHIPPED = {"atlas": Path(__file__).resolve().parents[1] / "atlas" / "base"}


def resolve(name: str | Path) -> str:
    """The folder or hub id behind a name: `atlas` is the model in the package, a run folder means its result."""
    if str(name) in SHIPPED and not Path(name).exists():
        return str(SHIPPED[str(name)])
    path = Path(name)
    first = Path(path.parts[0]) if len(path.parts) > 1 and not path.is_absolute() else None
    if first is not None and first.is_dir() and not path.exists():  # a typo, no hub id: the hub need not be asked
        here = [str(first / entry.name) for entry in first.iterdir() if entry.is_dir()]
        raise HeedError(
            "There is no model folder here.", str(name), nearest(str(name), here) if here else "check the path"
        )
    if (path / "run.json").is_file():
        if not (path / "model" / "config.json").is_file():
            raise HeedError(
                "This run has no finished model yet.",
                str(path),
                f"heed train --run {path} or the command that began it, with its options",
            )
        return str(path / "model")
    return str(name)


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


def load_model(
    name: str | Path, *, device: torch.device | str = "cpu", trust_remote_code: bool = False
) -> PreTrainedModel:
    """Any Hugging Face causal language model, weights in fp32 (the masters), ready on `device`.

    name: a folder, a run, `atlas`, or a hub id (fetched only because the user named it).
    Raises HeedError for a missing folder, one without a model, or weights that are not safetensors.
    """
    from transformers import AutoModelForCausalLM

    path = resolve(name)
    _check_folder(path)
    try:
        with quiet_bars():
            model = AutoModelForCausalLM.from_pretrained(
                path, dtype=torch.float32, use_safetensors=True, trust_remote_code=trust_remote_code
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


def _check_folder(path: str) -> None:
    folder = Path(path)
    looks_local = folder.exists() or path.startswith((".", "/", "~")) or path.count("/") > 1
    if not looks_local:
        return
    if not folder.is_dir():
        raise HeedError(
            "There is no model folder here.", path, "--model takes a folder, `atlas`, or a hub id like ORG/NAME"
        )
    if not (folder / "config.json").is_file():
        raise HeedError(
            "This folder holds no model: config.json is missing.", path, "name the folder that holds config.json"
        )
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        what = (
            "This model's weights are pickled; heed reads safetensors only."
            if pickled
            else "This folder holds no weights."
        )
        mend = "save it again with model.save_pretrained(FOLDER), which writes safetensors"
        raise HeedError(what, path, mend)


def context_length(model: PreTrainedModel) -> int | None:
    """Tokens that the model can see, or None where its config does not say."""
    return _context(model.config)


def configured_context(path: str, *, trust_remote_code: bool = False) -> int | None:
    """The same, from a checkpoint whose weights are not loaded."""
    from transformers import AutoConfig

    _check_folder(path)
    try:
        return _context(AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code))
    except Exception as error:
        raise _unloadable(path, error) from error


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
