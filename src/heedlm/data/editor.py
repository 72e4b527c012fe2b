"""A form, filled in by a person: in an editor, or in a file. What was written is never lost, also where it is refused."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heedlm.data.form import Filled, from_form
from heedlm.errors import HeedError, Problem

_USUAL = ("nano", "vim", "vi")


@contextmanager
def filled_form(form: str, file: str | None) -> Iterator[Filled]:
    """What a person put into a form, for as long as it takes to write it elsewhere.

    file: a filled form instead, "-" for standard input. Raises HeedError, its own or what was raised meanwhile, with the
    place where the form is kept if something was written into it.
    """
    if file is not None:
        yield from_form(_read(file), "<stdin>" if file == "-" else file)
        return
    command = _editor()
    folder = Path(tempfile.mkdtemp(prefix="heed-row-"))
    path = folder / "row.txt"
    path.write_text(form, encoding="utf-8")
    try:
        _run(command, path)
        text = _read(str(path))
        if text == form:
            raise HeedError(
                "Nothing was written: the form is as it was.", shlex.join(command), "fill it in and save it"
            )
        yield from_form(text, str(path))
    except HeedError as error:
        if path.is_file() and path.read_bytes() != form.encode("utf-8"):
            kept = Problem("What was written is kept.", str(path), f"mend it there, then give it: --file {path}")
            raise HeedError.of([*error.problems, kept]) from error
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _read(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"The form is not UTF-8: byte {error.object[error.start]:#04x} at {error.start}."
        raise HeedError(what, file, "save it as UTF-8") from None
    except OSError as error:
        raise HeedError(
            f"The form cannot be read: {error.strerror or error}", file, "name a file: --file FILE"
        ) from None


def _editor() -> list[str]:
    """The editor that a person wants, or a usual one where there is a terminal."""
    wanted = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if wanted:
        return shlex.split(wanted)
    found = next((name for name in _USUAL if shutil.which(name)), None)
    if found is None or not sys.stdin.isatty():
        raise HeedError("There is no editor to write in.", "EDITOR", "set EDITOR, or give a filled form: --file FILE")
    return [found]


def _run(command: list[str], path: Path) -> None:
    """Ctrl-C is for the editor alone while it runs: what is in it is not lost."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        code = subprocess.run([*command, str(path)], check=False).returncode
    except OSError as error:
        what = f"The editor does not start: {error.strerror or error}"
        raise HeedError(what, shlex.join(command), "set EDITOR to a program that exists") from None
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if code:
        raise HeedError(f"The editor ended with code {code}, so nothing was added.", shlex.join(command), "try again")
