"""`heed` as it is typed, in this process: exit code, standard output, standard error."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from heedlm import cli

Heed = Callable[..., tuple[int, str, str]]


def typed(capsys: pytest.CaptureFixture[str]) -> Heed:
    """A function that runs `heed` with arguments; what was said before is forgotten, and a traceback is a failure."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(left.value.code or 0), out, err

    return call


def squeezed(heed: Heed) -> Heed:
    """The same with standard error in one line, white space collapsed."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code, out, err = heed(*arguments)
        return code, out, " ".join(err.split())

    return call
