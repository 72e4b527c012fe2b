"""The instructions that come with heed, and where a named one lies."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from heedlm.errors import HeedError, nearest

ENDING = ".prompty"
_PREFIX = "heed:"  # before a name of the library, where a file could bear the same


def names() -> list[str]:
    """Names of the shipped instructions, in order."""
    return sorted(path.name.removesuffix(ENDING) for path in _folder().iterdir() if path.name.endswith(ENDING))


def path_of(name: str) -> Path:
    """The file of a shipped instruction. Raises HeedError with the nearest name."""
    bare = name.removeprefix(_PREFIX)
    if bare not in names():
        mend = f"{nearest(bare, names())}   (all of them: heed prompt list; or the path of a .prompty file)"
        raise HeedError(f"there is no instruction {bare!r}", name, mend)
    return _folder() / f"{bare}{ENDING}"


def source(name: str | Path, *, beside: Path | None = None, within: Path | None = None) -> tuple[str, str]:
    """Text and file of a path, or of a name from the library. beside: the folder that a relative path starts from.

    within: the folder in which a file has to lie, links followed; None anywhere.
    Raises HeedError: no such file, not a file, not UTF-8, not in the folder.
    """
    path = Path(name)
    if beside is not None and not path.is_absolute() and not str(name).startswith(_PREFIX):
        path = beside / path
    shipped = str(name).startswith(_PREFIX) or (not path.exists() and "/" not in str(name) and "." not in str(name))
    if shipped:
        path = path_of(str(name))
    elif within is not None:
        check_within(path, within, name)
    try:
        return path.read_text(encoding="utf-8-sig"), str(path)
    except FileNotFoundError:
        files = [one.name for one in path.parent.glob(f"*{ENDING}")] if path.parent.is_dir() else []
        mend = nearest(path.name, files) if files else "a .prompty file, or a name from heed prompt list"
        raise HeedError("there is no such file", str(path), mend) from None
    except OSError as error:
        raise HeedError(f"cannot be read: {error.strerror or error}", str(path), "name a .prompty file") from None
    except UnicodeDecodeError as error:
        what = f"not UTF-8: byte {error.object[error.start]:#04x}"
        raise HeedError(what, str(path), "save the file as UTF-8") from None


def check_within(path: Path, within: Path, name: str | Path) -> None:
    """Raises HeedError for a file outside a folder, links followed."""
    if not path.resolve().is_relative_to(within.resolve()):
        mend = f"a file in {within}, or a name of the library"
        raise HeedError("this file lies outside the folder of instructions", str(name), mend)


def _folder() -> Path:
    return Path(str(resources.files("heedlm.instructions").joinpath("library")))
