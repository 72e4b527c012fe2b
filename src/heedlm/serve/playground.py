"""The playground: pages for a browser, and what people write on them kept in files.

It is a part of a server, not a server: `Playground.answer` takes a request apart from any web framework. The pages ask
the models through the same API as every other client; what stands behind `/ui/api/` is only what that API has no word
for: mended answers, saved cases, checks, votes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from importlib import resources
from typing import Any
from urllib.parse import unquote, urlsplit

from heedlm.errors import HeedError, Problem, nearest
from heedlm.serve.playground_desk import Desk
from heedlm.serve.playground_instruction import Workshop
from heedlm.serve.playground_matrix import Matrices

ROOT = "/ui"
_DATA = f"{ROOT}/api/"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# Nothing from elsewhere, no inline script or style, and no way from a text into markup: what a model writes stays text.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_SAFE = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sends, as it stands."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Playground:
    """The pages, read once, the desk that people write at, and the workshop of instructions. Safe to call from several
    threads.

    workshop: by default one beside the cases that knows no model.   policy: name of the instruction that the server puts every
    conversation under; "" for none.
    key_needed: whether the server asks for a key; it checks the key itself for everything below `/ui/api/`, the pages need
    none. Without a key only a browser on this machine is answered, so that no other site writes here in its name.
    """

    def __init__(
        self, desk: Desk, *, workshop: Workshop | None = None, policy: str = "", key_needed: bool = False
    ) -> None:
        self.desk = desk
        shop = workshop or Workshop(desk.keep_cases.parent / "prompts")
        matrices = Matrices(shop)
        self.key_needed = key_needed
        folder = resources.files("heedlm.serve") / "ui"
        self._pages = {entry.name: entry.read_bytes() for entry in folder.iterdir() if _kind(entry.name)}
        self._verbs: dict[tuple[str, str], Callable[[Mapping[str, Any]], Any]] = {
            ("GET", "setup"): lambda given: {**desk.about(), "key_needed": key_needed, "policy": policy},
            ("GET", "cases"): lambda given: desk.cases(),
            ("POST", "cases"): desk.add_case,
            ("POST", "cases/remove"): desk.remove_case,
            ("POST", "check"): desk.check,
            ("POST", "fix"): desk.fix,
            ("GET", "votes"): lambda given: desk.votes(),
            ("POST", "votes"): desk.vote,
            ("GET", "instructions"): lambda given: shop.files(),
            ("POST", "instructions/look"): shop.look,
            ("POST", "instructions/speak"): shop.speak,
            ("POST", "instructions/open"): shop.open,
            ("POST", "instructions/save"): shop.save,
            ("POST", "matrix/plan"): matrices.plan,
            ("POST", "matrix/score"): matrices.score,
        }

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """What to send for a request below `/ui`.

        path: as in the request, with or without a query.   headers: by lower-case name.
        """
        path = unquote(urlsplit(path).path)
        if path.startswith(_DATA):
            return self._data(method, path.removeprefix(_DATA), headers, body)
        if method not in ("GET", "HEAD"):
            return _refused(405, "Pages are only read.", ROOT, "GET")
        if path == ROOT:
            return Answer(307, (("Location", f"{ROOT}/"), ("Content-Length", "0")), b"")
        page = self._pages.get(path.removeprefix(f"{ROOT}/") or "index.html")
        if page is None:
            return _refused(404, "There is no such page.", path, f"{ROOT}/")
        kind = _kind(path) or _KINDS["html"]
        more = (("Content-Security-Policy", POLICY),) if kind == _KINDS["html"] else ()
        return _answer(200, kind, page, ("Cache-Control", "no-cache"), *more, send=method == "GET")

    def _data(self, method: str, name: str, headers: Mapping[str, str], body: bytes) -> Answer:
        stranger = _stranger(method, headers, self.key_needed)
        if stranger:
            return _refused(403, stranger, name, "open the playground at its own address, on this machine")
        verb = self._verbs.get((method, name))
        if verb is None:
            known = sorted({known for _, known in self._verbs})
            if name in known:
                return _refused(405, f"{method} is not for this.", name, "see docs/playground.md")
            return _refused(404, "There is no such thing here.", name, nearest(name, known))
        try:
            return _json(200, verb(_object(body) if method == "POST" else {}))
        except HeedError as error:
            return _problems(422, error.problems)
        except OSError as error:  # a folder in the place of a file, and whatever else disks have in store
            what = f"This could not be kept: {error.strerror or error}."
            return _refused(500, what, str(error.filename or name), "look at the folder that heed serve was started in")


def _stranger(method: str, headers: Mapping[str, str], key_needed: bool) -> str:
    """Why a request does not come from these pages; "" where it does, or may.

    A page of another site can make a browser send requests here. It cannot read the answers, but a written row would do
    harm enough; and by a name of its own that leads to this machine it could read them too.
    """
    host = headers.get("host", "")
    if not key_needed and urlsplit(f"//{host}").hostname not in _LOOPBACK:
        return "Without a key only this machine is answered."
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return "This was sent by a page of another site."
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "This was sent by a page of another site."
    if method == "POST" and headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return "What is written here is JSON (content-type: application/json)."
    return ""


def _kind(name: str) -> str | None:
    return _KINDS.get(name.rpartition(".")[2])


def _object(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a request. Raises HeedError for anything else."""
    try:
        value = json.loads(body, parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode(
            "utf-8"
        )  # half a character can be written in JSON, and not in a file
    except (ValueError, RecursionError) as error:
        raise HeedError(f"The request is not JSON: {error}", "the request", '{"...": ...}') from None
    if not isinstance(value, dict):
        raise HeedError("The request is not a JSON object.", "the request", '{"...": ...}')
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _answer(status: int, kind: str, body: bytes, *more: tuple[str, str], send: bool = True) -> Answer:
    headers = (("Content-Type", kind), ("Content-Length", str(len(body))), *_SAFE, *more)
    return Answer(status, headers, body if send else b"")


def _json(status: int, value: Any) -> Answer:
    body = json.dumps(value, ensure_ascii=False, default=_plain).encode()
    return _answer(status, "application/json", body, ("Cache-Control", "no-store"))


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _problems(status: int, problems: tuple[Problem, ...]) -> Answer:
    first = problems[0]
    found = {"message": first.what, "where": first.where, "mend": first.mend, "problems": list(problems)}
    return _json(status, {"error": found})


def _refused(status: int, what: str, where: str, mend: str) -> Answer:
    return _problems(status, (Problem(what, where, mend),))
