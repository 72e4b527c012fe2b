"""The nouns of the house: what flows between rooms, as frozen dataclasses.

Nothing here computes, reads or imports a heavy library. Below `Chat.reply` everything is tensors, above it everything is
text; these are the types on both sides of that seam.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import torch

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")

JSON: TypeAlias = Any  # a JSON value: the shape of a tool schema or of `meta` is the user's own


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that the assistant asks for. `arguments` is the decoded JSON object, never a string."""

    name: str
    arguments: Mapping[str, JSON]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    content: text as the user sees it (parts other than text are refused where rows are read).
    reasoning: the assistant's thinking, kept apart from `content` so that a template decides where it goes.
    weight: how much this turn is taught; None means the default of its role (assistant 1.0, everything else 0.0).
        Only assistant turns may carry a weight above 0.
    """

    role: Role
    content: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One training or evaluation item, as rows of any schema become.

    source: "path:line", the place a person can open.   group: items of one group never part in a split.
    rejected: the worse answer of a preference pair, for objectives that use one.
    meta: whatever else the row held (task name, checks, licence); passed through, never rendered.
    """

    id: str
    messages: tuple[Message, ...]
    source: str
    group: str | None = None
    tools: tuple[Mapping[str, JSON], ...] = ()
    template_kwargs: Mapping[str, JSON] = field(default_factory=dict)
    rejected: tuple[Message, ...] = ()
    meta: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of rendered text with one supervision weight.

    weight: 0.0 not learned, 1.0 learned, others allowed.
    origin: "template", a role, "terminator", or the id of an instruction block: for colours and span maps.
    """

    text: str
    weight: float
    origin: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids with one weight per token: how much the model is taught to *produce* that token. No -100 labels."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.weights), "ids and weights are made in one pass"


@dataclass(frozen=True, slots=True)
class Batch:
    """A forest of documents laid end to end in one row of N tokens, ready for the model.

    ids: int64 [N].   positions: int64 [N], restarting at 0 in each document (a branch continues its parent's count).
    starts: int32 [D + 1] document boundaries: document d is `ids[starts[d]:starts[d + 1]]`.
    parents: int32 [D], index of the document whose end each document continues, -1 for a root.
    target_index, target_id: int64 [L]: the hidden state at `target_index` predicts `target_id`.
    target_weight: float32 [L] > 0.   target_row: int64 [L], which training row the target belongs to.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    starts: torch.Tensor
    parents: torch.Tensor
    target_index: torch.Tensor
    target_id: torch.Tensor
    target_weight: torch.Tensor
    target_row: torch.Tensor


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a model: messages (rendered in its own chat template) or plain text (sent as it is)."""

    messages: tuple[Message, ...] = ()
    text: str | None = None
    tools: tuple[Mapping[str, JSON], ...] = ()
    template_kwargs: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert (self.text is None) != (not self.messages), "a request holds messages or text, one of the two"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. temperature 0 is greedy.   max_tokens: new tokens at most.   stop: texts that end the reply.

    min_p: share of the likeliest token's probability that a token needs.   repetition_penalty: above 1 disfavours tokens
    that prompt or reply hold already.   top_logprobs: likeliest tokens reported for each place.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0


StopReason = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    text: the answer without reasoning and without the terminator.   ids: the generated tokens, terminator included.
    stop_reason: "stop" the model ended by itself (or met a stop text), "length" it was cut, "error" no answer.
    prompt: what the model really saw, as text; empty where an endpoint does not tell.
    alternatives: for each of `ids` the likeliest tokens and their log-probabilities, where they were asked for.
    """

    text: str
    ids: tuple[int, ...] = ()
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[float, ...] = ()
    stop_reason: StopReason = "stop"
    prompt: str = ""
    alternatives: tuple[tuple[tuple[int, float], ...], ...] = ()


class Chat(Protocol):
    """The one door between text and tensors, local or remote: eval, instructions, serve and synthesis use nothing else."""

    @property
    def name(self) -> str: ...

    def reply(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Reply]:
        """One reply per request, in order. `on_text(index, piece)` hears pieces as they are made."""
        ...

    def score(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[float]]:
        """Log-probability (nats) of each token of `continuations[i]` after `requests[i]`."""
        ...


@dataclass(frozen=True, slots=True)
class Score:
    """value in 0..1, the answer that was judged, and why it got that value."""

    value: float
    answer: str
    why: str


@dataclass(frozen=True, slots=True)
class Task:
    """Items of one kind with the function that scores a reply to each."""

    name: str
    kind: str
    examples: tuple[Example, ...]
    scorer: Callable[[Example, str], Score]
    gated: bool = True
