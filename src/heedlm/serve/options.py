"""What a server is set to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """keys: any of them is let in; none: only this machine is answered.   queue: replies that may wait for a place, beyond
    those that are being made.   timeout: seconds for one request from its arrival to its last token.   body_timeout: seconds
    in which a body must arrive.   max_body: its bytes at most.   max_tokens: new tokens that one reply may have, and has
    where a request does not say.   max_choices: replies that one request may ask for.   requests_per_minute,
    tokens_per_minute: for each key, or for each address where there are no keys; None for no limit.   log_prompts: write
    what was asked and answered into the log.
    """

    keys: tuple[str, ...] = ()
    queue: int = 256
    timeout: float = 600.0
    body_timeout: float = 20.0
    max_body: int = 4 * 2**20
    max_tokens: int = 2048
    max_choices: int = 8
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    log_prompts: bool = False
