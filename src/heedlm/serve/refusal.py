"""What a client is told when a request is refused: what is wrong, in which field, and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse

from heedlm.errors import HeedError, Problem, nearest

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "server_error",
}


class Refusal(Exception):
    """A request that gets another answer than it asked for.

    status: of HTTP.   problems: `where` names the field.   code: a word for programs.   headers: further ones.
    """

    def __init__(
        self,
        status: int,
        what: str,
        where: str = "",
        mend: str = "",
        *,
        code: str = "invalid_value",
        headers: Mapping[str, str] | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(what)
        self.status = status
        self.problems = tuple(problems) or (Problem(what, where, mend),)
        self.code = code
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, error: HeedError, where: str = "messages") -> Refusal:
        """What a lower floor refuses, as a matter of the field `where`."""
        problems = [Problem(one.what, one.where or where, one.mend) for one in error.problems]
        return cls(422, problems[0].what, problems=problems)


def body_of(refusal: Refusal) -> dict[str, Any]:
    """The JSON of a refusal, in the shape that OpenAI's clients read."""
    first = refusal.problems[0]
    error: dict[str, Any] = {
        "message": first.what + (f" ({first.mend})" if first.mend else ""),
        "type": _TYPES.get(refusal.status, "invalid_request_error"),
        "param": first.where or None,
        "code": refusal.code,
        "mend": first.mend,
    }
    if len(refusal.problems) > 1:
        error["problems"] = [{"message": one.what, "param": one.where, "mend": one.mend} for one in refusal.problems]
    return {"error": error}


def response_of(refusal: Refusal) -> JSONResponse:
    return JSONResponse(body_of(refusal), refusal.status, refusal.headers)


def wrong_fields(found: Sequence[Mapping[str, Any]], known: Sequence[str]) -> Refusal:
    """The refusal of a body that does not fit its shape.

    found: what pydantic says.   known: names of the fields that the body has. Values are not repeated: they may be prompts.
    """
    problems: dict[str, Problem] = {}
    for one in found:
        path = [str(part) for part in one["loc"] if part != "body"]
        kind = str(one["type"])
        if kind == "json_invalid":
            return Refusal(
                422, f"The body is not JSON: {one.get('ctx', {}).get('error', one['msg'])}.", "body", code="json"
            )
        # Of a choice between types pydantic names each branch behind the field: the field is what a client wrote.
        where = ".".join(part for part in path if part.isdigit() or (part.isidentifier() and part[0].islower()))
        where = where or "body"
        if kind == "extra_forbidden":
            problem = Problem(f"There is no field {path[-1]!r} here.", where, nearest(path[-1], known))
        elif kind == "missing":
            problem = Problem(
                f"The field {path[-1] if path else 'body'!r} is missing.",
                where,
                f"add {path[-1]!r}" if path else "send a JSON object",
            )
        else:
            problem = Problem(f"{where}: {one['msg'][:1].lower()}{one['msg'][1:]}.", where)
        problems.setdefault(where, problem)
    many = list(problems.values())
    return Refusal(422, many[0].what, problems=many)
