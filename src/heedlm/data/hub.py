"""Datasets of the Hugging Face hub: `hub:OWNER/NAME`, as the Arrow files that the library `datasets` keeps of them.

Options follow behind commas: `hub:OWNER/NAME,config=main,split=train,revision=v1`. Loading needs the extra `hub`; what was
loaded once is found again without a network.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from heedlm.data.licences import Licence, named, of_folder, of_readme
from heedlm.errors import HeedError, nearest

PREFIX = "hub:"
_OPTIONS = ("config", "split", "revision")
_PATIENCE = 5  # seconds for the hub to answer at all; its library asks six times and takes 24 to give up


def is_hub(path: Path) -> bool:
    """Whether a path names a dataset of the hub."""
    return str(path).startswith(PREFIX)


class Loaded(NamedTuple):
    """files: Arrow files that hold one split of a dataset, in order.   licence: of its rows, where it names one."""

    files: tuple[Path, ...]
    licence: Licence | None


def hub_files(name: str) -> tuple[Path, ...]:
    """The Arrow files that hold one split of a dataset, in order. Raises HeedError."""
    return loaded(name).files


@functools.cache
def loaded(name: str) -> Loaded:
    """A split of a dataset, fetched and built where it is missing.

    Raises HeedError for a name that is not well formed, a library that is not installed, and whatever the hub refuses.
    """
    repository, options = _parsed(name)
    datasets = _library(name)
    split, local = options.get("split"), Path(repository).is_dir()
    silent = "" if local else _silence()
    try:
        with _offline() if silent else contextlib.nullcontext():
            found = datasets.load_dataset(
                repository,
                options.get("config"),
                split=split or "train",
                revision=options.get("revision"),
                keep_in_memory=False,
            )
    except Exception as error:  # the library and its builders raise nearly everything
        raise _refused(error, name, repository, split, silent) from error
    files = tuple(Path(file["filename"]) for file in found.cache_files)
    if not files and len(found):
        what = "the dataset was loaded, but not as files"
        raise HeedError(what, name, "write it to files: datasets.load_dataset(...).to_parquet('rows.parquet')")
    told = named(found.info.license)
    licence = Licence(told, "its data set info") if told else _licence(repository, options.get("revision"))
    return Loaded(files, licence)


def _licence(repository: str, revision: str | None) -> Licence | None:
    """What the README says, which lies in the cache of the hub after loading."""
    if Path(repository).is_dir():
        return of_folder(Path(repository))
    from huggingface_hub import try_to_load_from_cache

    readme = try_to_load_from_cache(repository, "README.md", repo_type="dataset", revision=revision)
    return of_readme(Path(readme)) if isinstance(readme, str) else None


def _silence() -> str:
    """Why the hub cannot be asked, or nothing."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, so nothing is asked"
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception as error:  # noqa: BLE001  of the network, of its proxies, of what lies between
        return f"{constants.ENDPOINT}: {str(error).strip() or type(error).__name__}"
    return ""


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """What was loaded before is found, and nothing is asked."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _parsed(name: str) -> tuple[str, dict[str, str]]:
    repository, *parts = name.removeprefix(PREFIX).split(",")
    written = "write hub:OWNER/NAME, or hub:OWNER/NAME,config=main,split=train,revision=v1"
    if not repository.strip("/. "):
        raise HeedError("no dataset is named behind 'hub:'", name, written)
    options: dict[str, str] = {}
    for part in parts:
        key, sign, value = part.partition("=")
        if not sign or not value:
            raise HeedError(f"{part!r} is not an option with a value", name, written)
        if key not in _OPTIONS:
            raise HeedError(f"unknown option {key!r} of a dataset", name, nearest(key, _OPTIONS))
        if key in options:
            raise HeedError(f"option {key!r} is given twice", name, f"keep one {key}=...")
        options[key] = value
    if not re.fullmatch(r"[\w.\-]+", options.get("split", "train")):
        what = f"split is {options['split']!r}, expected the name of one split"
        raise HeedError(what, name, "name a whole split, for example split=train")
    return repository, options


def _library(name: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        what = f"a dataset of the hub needs the library `datasets`, which cannot be imported: {error}"
        raise HeedError(what, name, "pip install 'heedlm[hub]'  (or pip install datasets)") from error
    return datasets


def _refused(error: Exception, name: str, repository: str, split: str | None, silent: str) -> HeedError:
    said = str(error).strip().split("\n")[0][:300] or type(error).__name__
    splits = re.search(r"Should be one of \[(.*?)\]", str(error))
    if splits:
        names = re.findall(r"'([^']+)'", splits[1])
        if split is None and names:
            mend = f"name the one to read: {name},split={names[0]}"
            return HeedError(f"the dataset has no split 'train'; it has {', '.join(names)}", name, mend)
        return HeedError(f"the dataset has no split {split!r}", name, nearest(split or "", names))
    if "config" in said.lower():
        return HeedError(
            f"cannot be loaded: {said}", name, f"name one of its configurations: hub:{repository},config=..."
        )
    if silent or isinstance(error, (ConnectionError, TimeoutError)) or "offline" in said.lower():
        elsewhere = f"hf download --repo-type dataset {repository} --local-dir DIR"
        mend = (
            f"check the network, HTTPS_PROXY and HF_ENDPOINT; or fetch it elsewhere, and name the folder: {elsewhere}"
        )
        known = ", and the dataset was not loaded here before" if silent else ""
        return HeedError(f"the hub cannot be reached{known}: {silent or said}", name, mend)
    mend = "check the name on the hub, and `hf auth login` where it is private or gated"
    return HeedError(f"cannot be loaded: {said}", name, mend)
