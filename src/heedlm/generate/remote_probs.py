"""How likely the tokens of an endpoint's answer were: the same question once more, with log-probabilities."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from heedlm.errors import HeedError
from heedlm.generate.remote import RemoteChat, body_of
from heedlm.messages import Request, Sampling


class Told(NamedTuple):
    """One token as the endpoint spells it.   logprob: nats.   others: the likeliest tokens at its place, best first."""

    text: str
    logprob: float
    others: tuple[tuple[str, float], ...]


def asked_again(chat: RemoteChat, request: Request, sampling: Sampling, count: int) -> list[Told]:
    """Tokens of the answer to `request`, with `count` alternatives each. Raises HeedError where the endpoint tells none."""
    import openai

    if request.text is not None:
        raise HeedError("Of an endpoint only answers to messages are shown, not continued texts.")
    body = body_of(chat.name, request, replace(sampling, top_logprobs=0), 0)
    try:
        answer = chat.client.chat.completions.create(**body, logprobs=True, top_logprobs=count)
    except openai.APIConnectionError as error:
        raise HeedError("The endpoint cannot be reached.", mend="start the server, or check the address") from error
    except openai.APIStatusError as error:
        reason = f"The endpoint does not give log-probabilities ({error.status_code}: {error.message})."
        raise HeedError(reason, mend="vLLM, llama.cpp's server and heed serve do") from error
    given = answer.choices[0].logprobs if answer.choices else None
    if given is None or not given.content:
        raise HeedError(
            "The endpoint answered without log-probabilities.", mend="vLLM, llama.cpp's server and heed serve give them"
        )
    return [
        Told(token.token, token.logprob, tuple((one.token, one.logprob) for one in token.top_logprobs or ()))
        for token in given.content
    ]
