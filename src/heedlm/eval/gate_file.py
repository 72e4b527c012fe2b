"""A gate of the user's own: the figures that a model has to reach, in a YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from heedlm.errors import HeedError, Problem, nearest

Share = Annotated[float, Field(ge=0, le=1)]
EVERY = "*"  # a task without a name of its own in the file
EXAMPLE = "tasks: {'*': {gain: 0.0, items: 100}}, stop_rate: 0.99, forgetting: 0.1"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskGate(_Section):
    """Of one task. gain: what the lower end of the paired interval must be above (0.05: five points).

    score: what the tuned model must reach.   items: at least so many.
    """

    gain: Annotated[float, Field(ge=-1, le=1)] | None = None
    score: Share | None = None
    items: Annotated[int, Field(ge=1)] | None = None


class Gate(_Section):
    """tasks: by name; `*` stands for every task that is not named.   stop_rate, honest: at least.

    false_refusals, errors: at most, shares of items.   forgetting: at most so much of a rise in bits per byte.
    noise_floor: ask the tuned model twice, and let a gain count only above what changed between.
    """

    tasks: dict[str, TaskGate] = {}
    stop_rate: Share | None = None
    honest: Share | None = None
    false_refusals: Share | None = None
    errors: Share | None = None
    forgetting: Annotated[float, Field(ge=0)] | None = None
    noise_floor: bool = False


def read_gate(path: Path) -> Gate:
    """A gate from its file. Raises HeedError with everything that is wrong in it."""
    try:
        value = yaml.safe_load(path.read_text("utf8"))
    except FileNotFoundError:
        raise HeedError("There is no gate here.", str(path), f"write one, for example: {EXAMPLE}") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise HeedError("This gate is not a UTF-8 text file.", str(path), "name a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or "it cannot be read"
        raise HeedError(f"This gate is not valid YAML: {reason}.", f"{path}{line}", "check indentation") from None
    if not isinstance(value, dict):
        raise HeedError("A gate is a mapping of figures.", str(path), f"for example: {EXAMPLE}")
    try:
        gate = Gate.model_validate(value)
    except ValidationError as error:
        raise HeedError.of([_problem(dict(one), path) for one in error.errors()]) from None
    if gate == Gate(noise_floor=gate.noise_floor) or (
        gate.tasks and all(one == TaskGate() for one in gate.tasks.values()) and _only_tasks(gate)
    ):
        raise HeedError("This gate asks for nothing: every model would pass.", str(path), f"for example: {EXAMPLE}")
    return gate


def check_names(gate: Gate, names: Sequence[str], path: Path) -> None:
    """Raises HeedError for tasks that there are not; a figure of theirs would never be asked for."""
    unknown = [name for name in gate.tasks if name not in names and name != EVERY]
    if unknown:
        raise HeedError.of(
            [Problem(f"There is no task {name!r}.", str(path), nearest(name, names)) for name in unknown]
        )


def _only_tasks(gate: Gate) -> bool:
    return gate.model_copy(update={"tasks": {}, "noise_floor": False}) == Gate()


def _problem(error: dict[str, object], path: Path) -> Problem:
    place = [str(part) for part in error["loc"]]  # type: ignore[attr-defined]
    key = ".".join(place)
    known = TaskGate.model_fields if place[:1] == ["tasks"] else Gate.model_fields
    if error["type"] == "extra_forbidden":
        return Problem(f"Unknown key {key!r}.", str(path), nearest(place[-1], known))
    message = str(error["msg"])
    return Problem(f"Key {key!r} is {error['input']!r}: {message[:1].lower()}{message[1:]}.", str(path))
