"""Answers from a model behind an OpenAI-compatible endpoint: the `Chat` protocol over HTTP."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from heedlm.errors import HeedError
from heedlm.messages import JSON, Message, Reply, Request, Sampling, StopReason, ToolCall

if TYPE_CHECKING:
    from openai import OpenAI

Hear = Callable[[str], None]
_OWN_TEMPERATURE = 1.0  # what the protocol decodes with where nothing is said; some endpoints refuse to be told any
_AGAIN = (408, 409, 429)  # and all from 500 on: the same request may succeed later


class Called(NamedTuple):
    """One call, for whoever pays for it.

    cost: "paid" for an answer, "free" where the endpoint refused or was never reached, "unsure" where it may have worked
    and its answer was lost.   tokens: of prompt and completion as the endpoint counts them, None where it does not say.
    again: whether the same call may succeed later.   after: seconds that the endpoint asks to wait before that.
    refused: what concerns every call, such as a wrong key.
    """

    reply: Reply
    cost: Literal["paid", "free", "unsure"] = "paid"
    tokens: tuple[int, int] | None = None
    again: bool = False
    after: float | None = None
    refused: HeedError | None = None


class RemoteChat:
    """One model of one endpoint (vLLM, llama.cpp, Ollama, `heed serve`, a hosted service).

    base_url: up to and including the version, such as "http://127.0.0.1:8000/v1".   timeout: seconds for one request.
    concurrency: requests under way at once, at most.   max_retries: how often a request is tried again after a broken
    connection, a timeout or an answer of 408, 409, 429 or 5xx, with growing pauses.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        concurrency: int = 8,
        timeout: float = 120.0,
        max_retries: int = 4,
    ) -> None:
        self._client = _client(base_url, api_key, timeout, max_retries)
        self._base_url = base_url
        self._model = model
        self._concurrency = concurrency

    @property
    def name(self) -> str:
        return self._model

    @property
    def client(self) -> OpenAI:
        """What speaks with the endpoint."""
        return self._client

    @property
    def concurrency(self) -> int:
        return self._concurrency

    def reply(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Reply]:
        """One reply per request, in order.

        A request that the endpoint refuses, or keeps failing, gets a reply with stop_reason "error" and the reason as
        text. What concerns every request (no connection, a wrong key, an unknown model) raises HeedError.
        on_text(index, piece): a single request is streamed; of several, each is heard when it is complete.
        `sampling.seed` plus its index is the seed of a request. `top_k`, `min_p`, `repetition_penalty` and template_kwargs go out as the extra fields
        that vLLM and llama.cpp read.
        """
        if len(requests) == 1:
            hear = None if on_text is None else (lambda piece: on_text(0, piece))
            return [self._one(requests[0], sampling, 0, hear)]
        replies: dict[int, Reply] = {}
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            futures = {
                pool.submit(self._one, request, sampling, index, None): index for index, request in enumerate(requests)
            }
            for future in as_completed(futures):
                index = futures[future]
                replies[index] = future.result()
                if on_text is not None and replies[index].stop_reason != "error":
                    on_text(index, replies[index].text)
        finally:  # after an error or an interrupt, what waits in the queue shall not be sent
            pool.shutdown(wait=False, cancel_futures=True)
        return [replies[index] for index in range(len(requests))]

    def score(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[float]]:
        """Log-probability (nats) of each token of continuations[i] after the text of requests[i].

        Needs an endpoint whose completions can echo the prompt with log-probabilities (vLLM can, most hosted services
        cannot), and requests of plain text: an endpoint renders messages out of our sight. A token that reaches from
        the prompt into the continuation counts as continuation; the first token of an empty prompt has no score.
        """
        if any(request.text is None for request in requests):
            raise HeedError(
                "An endpoint can score plain text only: it renders messages out of our sight.",
                where=self._base_url,
                mend="load the model itself to score answers to messages",
            )
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            pairs = zip(requests, continuations, strict=True)
            return list(pool.map(lambda pair: self._score_one(pair[0].text or "", pair[1]), pairs))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def call(self, request: Request, sampling: Sampling) -> Called:
        """One call, tried as often as `max_retries` says, with what is known about its cost; never raises HeedError."""
        return self._call(request, sampling, 0, None)

    def _one(self, request: Request, sampling: Sampling, index: int, hear: Hear | None) -> Reply:
        called = self._call(request, sampling, index, hear)
        if called.refused is not None:
            raise called.refused
        return called.reply

    def _call(self, request: Request, sampling: Sampling, index: int, hear: Hear | None) -> Called:
        import openai

        body = body_of(self._model, request, sampling, index)
        try:
            if request.text is not None:
                return self._complete(body, hear)
            return Called(self._stream(body, hear)) if hear is not None else self._answer(body)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            return Called(_failed(_reason(error)), "free", refused=self._refused(error))
        except openai.APITimeoutError as error:
            return Called(_failed("The endpoint did not answer in time."), _lost(error), again=True)
        except openai.APIConnectionError as error:
            what, mend = "The endpoint cannot be reached.", "start the server, or check the address"
            refused = HeedError(what, where=self._base_url, mend=mend)
            return Called(_failed(what), _lost(error), again=True, refused=refused)
        except openai.APIStatusError as error:
            what = f"The endpoint answered {error.status_code}: {_reason(error)}"
            if error.status_code == 400 and "temperature" in what.lower():
                what += f" (mend: a temperature of {_OWN_TEMPERATURE:g}, which is the endpoint's own and is not sent)"
            if error.status_code == 429 and error.code == "insufficient_quota":
                return Called(_failed(what), "free", refused=HeedError(what, self._base_url, "check the account"))
            again = error.status_code in _AGAIN or error.status_code >= 500
            return Called(_failed(what), "free", again=again, after=_retry_after(error.response.headers))
        except (openai.APIError, json.JSONDecodeError) as error:
            return Called(_failed(f"The endpoint's answer cannot be read: {error}"), "unsure", again=True)

    def _answer(self, body: dict[str, Any]) -> Called:
        answer = self._client.chat.completions.create(**body)
        if not answer.choices:
            return Called(_failed("The endpoint answered without a choice."), tokens=_tokens(answer))
        choice = answer.choices[0]
        message = choice.message
        calls = [
            {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
            for call in message.tool_calls or []
        ]
        reply = _reply(message.content or "", _reasoning(message), calls, choice.finish_reason)
        return Called(reply, tokens=_tokens(answer))

    def _stream(self, body: dict[str, Any], hear: Hear) -> Reply:
        text, thought, finish = "", "", None
        calls: dict[int, dict[str, str]] = {}
        with self._client.chat.completions.create(**body, stream=True) as chunks:
            for chunk in chunks:
                if not chunk.choices:
                    continue
                choice = chunk.choices[0]
                finish = choice.finish_reason or finish
                thought += _reasoning(choice.delta) or ""
                for call in choice.delta.tool_calls or []:
                    known = calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                    known["id"] = call.id or known["id"]
                    if call.function is not None:
                        known["name"] += call.function.name or ""
                        known["arguments"] += call.function.arguments or ""
                if choice.delta.content:
                    text += choice.delta.content
                    hear(choice.delta.content)
        if finish is None:
            return Reply(text=text or "The endpoint broke off.", reasoning=thought or None, stop_reason="error")
        return _reply(text, thought or None, [calls[place] for place in sorted(calls)], finish)

    def _complete(self, body: dict[str, Any], hear: Hear | None) -> Called:
        prompt = body["prompt"]
        if hear is None:
            answer = self._client.completions.create(**body)
            if not answer.choices:
                return Called(_failed("The endpoint answered without a choice."), tokens=_tokens(answer))
            choice = answer.choices[0]
            reply = Reply(text=choice.text, stop_reason=_stop_reason(choice.finish_reason), prompt=prompt)
            return Called(reply, tokens=_tokens(answer))
        text, finish = "", None
        with self._client.completions.create(**body, stream=True) as chunks:
            for chunk in chunks:
                if chunk.choices:
                    finish = chunk.choices[0].finish_reason or finish
                    if chunk.choices[0].text:
                        text += chunk.choices[0].text
                        hear(chunk.choices[0].text)
        if finish is None:
            return Called(Reply(text=text or "The endpoint broke off.", stop_reason="error", prompt=prompt))
        return Called(Reply(text=text, stop_reason=_stop_reason(finish), prompt=prompt))

    def _score_one(self, prompt: str, continuation: str) -> list[float]:
        import openai

        unable = HeedError(
            "The endpoint does not give log-probabilities of a given text (completions with echo and logprobs).",
            where=self._base_url,
            mend="load the model itself to score text, or serve it with vLLM",
        )
        if not prompt + continuation:
            return []
        try:
            answer = self._client.completions.create(
                model=self._model, prompt=prompt + continuation, max_tokens=0, echo=True, logprobs=0, temperature=0.0
            )
        except openai.APIConnectionError as error:
            raise HeedError(
                "The endpoint cannot be reached.", where=self._base_url, mend="start the server, or check the address"
            ) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise self._refused(error) from error
        except openai.APIError as error:
            raise unable from error
        given = answer.choices[0].logprobs if answer.choices else None
        if given is None or not given.tokens or not given.token_logprobs or not given.text_offset:
            raise unable
        if not answer.choices[0].text.startswith(prompt + continuation):
            raise unable
        scores = []
        begin, end = len(prompt), len(prompt) + len(continuation)
        for token, logprob, offset in zip(given.tokens, given.token_logprobs, given.text_offset, strict=True):
            if offset + len(token) > begin and offset < end and logprob is not None:
                scores.append(float(logprob))
        return scores

    def _refused(self, error: Any) -> HeedError:
        mends = {
            401: "check the API key",
            403: "check what the API key may do",
            404: "check the model's name and that the address ends with the version, such as /v1",
        }
        return HeedError(
            f"The endpoint refuses ({error.status_code}): {_reason(error)}",
            where=f"{self._base_url} (model {self._model})",
            mend=mends.get(error.status_code, ""),
        )


def _client(base_url: str, api_key: str | None, timeout: float, max_retries: int) -> OpenAI:
    try:
        import openai
    except ImportError as error:
        raise HeedError(
            "Talking to an endpoint needs the openai client, which is not installed.",
            mend="pip install 'heedlm[remote]'",
        ) from error
    # The client insists on a key; servers without keys ignore it.
    return openai.OpenAI(base_url=base_url, api_key=api_key or "none", timeout=timeout, max_retries=max_retries)


def _failed(why: str) -> Reply:
    return Reply(text=why, stop_reason="error")


def _lost(error: Exception) -> Literal["free", "unsure"]:
    """Whether a request whose connection failed may have been worked on: not where none was ever made."""
    return "free" if type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout") else "unsure"


def _tokens(answer: Any) -> tuple[int, int] | None:
    """Tokens of prompt and completion, as far as the endpoint counts them."""
    usage = getattr(answer, "usage", None)
    found = (getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None))
    return found if all(isinstance(count, int) and count >= 0 for count in found) else None  # type: ignore[return-value]


def _retry_after(headers: Any) -> float | None:
    """Seconds that `Retry-After` asks to wait, written as a number or as a date; None where it says neither."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(timezone.utc)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def body_of(model: str, request: Request, sampling: Sampling, index: int) -> dict[str, Any]:
    """The fields of one request, without those that hold their default."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed + index,
    }
    extra: dict[str, Any] = {}
    if sampling.temperature != _OWN_TEMPERATURE:
        body["temperature"] = sampling.temperature
    if sampling.top_p < 1.0:
        body["top_p"] = sampling.top_p
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.top_k > 0:
        extra["top_k"] = sampling.top_k
    if sampling.min_p > 0:
        extra["min_p"] = sampling.min_p
    if sampling.repetition_penalty != 1.0:
        extra["repetition_penalty"] = sampling.repetition_penalty
    if request.text is not None:
        body["prompt"] = request.text
    else:
        body["messages"] = [_wire(message) for message in request.messages]
        if request.tools:
            body["tools"] = [dict(tool) for tool in request.tools]
        if request.template_kwargs:
            extra["chat_template_kwargs"] = dict(request.template_kwargs)
    if extra:
        body["extra_body"] = extra
    return body


def _wire(message: Message) -> dict[str, JSON]:
    """A message in the endpoint's words."""
    wire: dict[str, JSON] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        wire["reasoning_content"] = message.reasoning
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id or f"call_{place}",
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)},
            }
            for place, call in enumerate(message.tool_calls)
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def _reply(text: str, reasoning: str | None, calls: Sequence[dict[str, Any]], finish: str | None) -> Reply:
    """A reply from the endpoint's fields; calls whose arguments are no JSON object make it an error that shows them."""
    parsed = []
    for call in calls:
        try:
            arguments = json.loads(call["arguments"] or "{}")
        except json.JSONDecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            return Reply(
                text=f"The call of {call['name']!r} has arguments that are no JSON object: {call['arguments']}",
                reasoning=reasoning,
                stop_reason="error",
            )
        parsed.append(ToolCall(call["name"], arguments, call["id"] or None))
    return Reply(text=text, reasoning=reasoning, tool_calls=tuple(parsed), stop_reason=_stop_reason(finish))


def _stop_reason(finish: str | None) -> StopReason:
    return "length" if finish == "length" else "stop"


def _reasoning(message: Any) -> str | None:
    """Reasoning as servers name it: `reasoning_content` (DeepSeek, older vLLM) or `reasoning`."""
    return getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or None


def _reason(error: Any) -> str:
    """What the endpoint said, in one line."""
    body = error.body
    if isinstance(body, dict):
        detail = body.get("message") or body.get("detail") or body
        return str(detail)
    return str(error.message).splitlines()[0] if error.message else "no reason given"
