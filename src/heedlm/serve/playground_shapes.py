"""What the instruction editor of the playground sends and gets, field by field; the server's own page describes it so too."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_STRICT = ConfigDict(extra="forbid", strict=True)
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"

Source = Annotated[str, Field(max_length=100_000, description="The text of a .prompty file.")]
Name = Annotated[str, Field(pattern=NAME, description="Of a file, without its ending: letters, digits, _ and -.")]
Short = Annotated[str, Field(max_length=500)]
Values = Annotated[dict[str, Annotated[str, Field(max_length=100_000)]], Field(max_length=100)]
Notation = Literal["", "markdown", "xml", "label", "plain"]


class Turn(BaseModel):
    model_config = _STRICT
    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(max_length=1_000_000)]


class LookBody(BaseModel):
    """An instruction to be linted and compiled. values: of its inputs, as text; what is left out is shown by its example.

    model, format: whose tokens and template; without them messages.   format: own, plain, or a built-in chat template.
    """

    model_config = _STRICT
    source: Source
    name: Name = "untitled"
    values: Values = {}
    model: Short = ""
    format: Short = "own"
    notation: Notation = ""
    placement: Literal["", "system", "user"] = ""


class SpeakBody(LookBody):
    """A conversation to be put under an instruction, for one model and format."""

    messages: Annotated[list[Turn], Field(min_length=1, max_length=1_000)]


class OpenBody(BaseModel):
    model_config = _STRICT
    name: Name
    origin: Literal["library", "folder"]


class SaveBody(BaseModel):
    """replace: whether a file of this name may be written over."""

    model_config = _STRICT
    name: Name
    source: Source
    replace: bool = False


class Compared(BaseModel):
    """One instruction of a matrix."""

    model_config = _STRICT
    name: Name
    source: Source


class Way(BaseModel):
    """format: own, plain, or a built-in chat template; alone, or with a notation behind a slash."""

    model_config = _STRICT
    model: Short
    format: Short


class MatrixBody(BaseModel):
    """Instructions and ways to ask, each with each.   cases: JSON lines or YAML, as `heed prompt test` reads them."""

    model_config = _STRICT
    instructions: Annotated[list[Compared], Field(min_length=1, max_length=8)]
    ways: Annotated[list[Way], Field(min_length=1, max_length=60)]
    cases: Annotated[str, Field(max_length=1_000_000)]
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 128


class Replied(BaseModel):
    """What came back for one request. error: why nothing did; "" where something did."""

    model_config = _STRICT
    text: Annotated[str, Field(max_length=200_000)] = ""
    finish: Literal["stop", "length", "error"] = "stop"
    tokens: Annotated[int, Field(ge=0)] | None = None


class ScoreBody(MatrixBody):
    """replies: to the requests of the plan of the very same matrix, in their order."""

    replies: Annotated[list[Replied], Field(max_length=5_000)]


# What comes back ------------------------------------------------------------------------------------------------------

_CLOSED = ConfigDict(extra="forbid")


class ProblemShape(BaseModel):
    model_config = _CLOSED
    what: str
    where: str
    mend: str


class BlockShape(BaseModel):
    """One block. lines: from its heading to behind its last line, from 0; text_lines: of its text alone; both empty for a
    block of another file, which `file` names."""

    model_config = _CLOSED
    id: str
    kind: str
    about: str
    title: str
    role: Literal["system", "user", "assistant"]
    text: str
    flags: list[str]
    variants: list[str]
    file: str
    lines: tuple[int, int]
    text_lines: tuple[int, int]


class InputShape(BaseModel):
    """example: as it is put in where nothing is given.   typed: whether it takes what a person types."""

    model_config = _CLOSED
    name: str
    kind: str
    about: str
    required: bool
    typed: bool
    trust: str
    example: str
    enum: list[str]


class FixShape(BaseModel):
    model_config = _CLOSED
    line: int
    old: str
    new: str


class FindingShape(BaseModel):
    """line: in the file, from 1.   block: its id; "" for the file as a whole.   fix: a mechanical mend."""

    model_config = _CLOSED
    rule: str
    name: str
    severity: Literal["error", "warning", "info"]
    line: int
    block: str
    what: str
    why: str
    mend: str
    source: str
    fix: FixShape | None


class StretchShape(BaseModel):
    """role: of the message, where messages are shown; block "" is the template's own.   input: who wrote it."""

    model_config = _CLOSED
    role: str
    text: str
    block: str
    input: str


class PreviewShape(BaseModel):
    """What a model sees. tokens: of each block, "" for the template's own; empty where no tokenizer is known."""

    model_config = _CLOSED
    stretches: list[StretchShape]
    tokens: dict[str, int]
    total: int | None
    notes: list[str]
    quoted: list[str]
    empty: list[str]
    stop: list[str]


class LookShape(BaseModel):
    """An instruction as it is written, with findings and preview; problems: why there is no preview."""

    model_config = _CLOSED
    name: str
    about: str
    notation: str
    budget: int
    blocks: list[BlockShape]
    inputs: list[InputShape]
    findings: list[FindingShape]
    ignored: int
    preview: PreviewShape | None
    problems: list[ProblemShape]


class SpeakShape(BaseModel):
    """What is asked: messages, or one text with the texts that end its continuation."""

    model_config = _CLOSED
    messages: list[Turn] | None = None
    prompt: str | None = None
    stop: list[str] = []


class FileShape(BaseModel):
    model_config = _CLOSED
    name: str
    about: str


class KindShape(BaseModel):
    model_config = _CLOSED
    name: str
    title: str
    about: str
    place: str
    sample: str


class FilesShape(BaseModel):
    """Instructions that can be opened, kinds of blocks, notations, and what a new one begins with."""

    model_config = _CLOSED
    folder: str
    saved: list[FileShape]
    library: list[FileShape]
    kinds: list[KindShape]
    notations: list[str]
    starter: str


class SourceShape(BaseModel):
    model_config = _CLOSED
    name: str
    source: str


class SavedShape(BaseModel):
    model_config = _CLOSED
    name: str
    where: str


class AskShape(BaseModel):
    """One request that the matrix needs. path: of the API.   body: of the request, without sampling but `max_tokens`."""

    model_config = _CLOSED
    path: str
    body: dict[str, Any]


class RowShape(BaseModel):
    """asks: for each case the number of its request."""

    model_config = _CLOSED
    instruction: str
    model: str
    format: str
    baseline: str
    asks: list[int]


class PlanShape(BaseModel):
    model_config = _CLOSED
    cases: list[str]
    rows: list[RowShape]
    asks: list[AskShape]
    notes: list[str]


class ReportShape(BaseModel):
    """report: as `heed prompt test` writes report.json.   html: its page."""

    model_config = _CLOSED
    report: dict[str, Any]
    html: str


class UiErrorBody(BaseModel):
    model_config = _CLOSED
    message: str
    where: str
    mend: str
    problems: list[ProblemShape]


class UiErrorShape(BaseModel):
    model_config = _CLOSED
    error: UiErrorBody
