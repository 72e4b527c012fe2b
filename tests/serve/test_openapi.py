"""The server against its own page /openapi.json: made-up requests, good and bad, and answers of the promised shape."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heedlm.instructions.library import source
from heedlm.serve.options import Options
from heedlm.serve.playground import Playground
from heedlm.serve.playground_desk import Desk
from heedlm.serve.playground_instruction import Workshop
from heedlm.serve.playground_openapi import ADDRESSES as ADDRESSES_OF_THE_EDITOR
from heedlm.serve.playground_seats import seats_of
from tests.serve.live import Live, live, tiny_served

KEY = "schemathesis-" * 2
SOURCE = source("review-sentiment")[0]
CASES = '{"vars": {"review": "Good."}, "assert": [{"type": "contains", "value": "x"}]}\n'
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


@pytest.fixture(scope="module")
def guarded(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[Live]:
    with live([tiny_served(llama, tokenizer)], Options(keys=(KEY,), max_tokens=4)) as running:
        yield running


def operations(server: Live) -> list[Any]:
    page = schemathesis.openapi.from_url(f"{server.root}/openapi.json")
    return [found.ok() for found in page.get_all_operations()]


ADDRESSES = (
    "/health",
    "/metrics",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/models",
    "/v1/models/{name}",
    "/v1/render",
)


def test_the_page_tells_of_every_address(guarded: Live) -> None:
    assert sorted(one.path for one in operations(guarded)) == sorted(ADDRESSES)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("address", ADDRESSES)
def test_made_up_requests_are_answered_as_the_page_says(guarded: Live, address: str, mode: GenerationMode) -> None:
    operation = next(one for one in operations(guarded) if one.path == address)
    if mode is GenerationMode.NEGATIVE and operation.method == "get":
        pytest.skip("a request without parameters cannot be wrong")
    statuses: set[int] = set()

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def asked(case: schemathesis.Case) -> None:
        name = case.body.get("model") if isinstance(case.body, dict) else None
        if isinstance(name, str) and len(name) <= 500:
            case.body["model"] = "tiny"  # a made-up name would never reach a model
        answer = case.call(headers={"Authorization": f"Bearer {KEY}"})
        # A made-up key counts as wrong, and is replaced by a good one here.
        if mode is GenerationMode.POSITIVE or "Authorization" not in (case.headers or {}):
            statuses.add(answer.status_code)
        if answer.status_code != 413:  # as below
            case.validate_response(answer, checks=CHECKS)

    asked()
    if mode is GenerationMode.POSITIVE:
        # Conversations that fit the shape may still hold nothing, or an answer without a question.
        assert statuses <= {200, 404, 422}
        assert 200 in statuses or address in ("/v1/models/{name}", "/v1/chat/completions", "/v1/render")
    if mode is GenerationMode.NEGATIVE:
        assert not [status for status in statuses if status < 400]


UI = tuple(f"/ui/api/{name}" for name in ADDRESSES_OF_THE_EDITOR)


@pytest.fixture(scope="module")
def edited(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("desk")
    served = tiny_served(llama, tokenizer)
    desk = Desk(folder / "h.jsonl", folder / "c.jsonl", folder / "v.jsonl", folder / "n.yaml")
    pages = Playground(desk, workshop=Workshop(folder / "prompts", seats_of([served])), key_needed=True)
    with live([served], Options(keys=(KEY,), max_tokens=4), pages) as running:
        yield running


def test_the_page_tells_of_the_editor_s_addresses_too(edited: Live) -> None:
    assert sorted(one.path for one in operations(edited)) == sorted((*ADDRESSES, *UI))


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("address", UI)
def test_the_editor_answers_made_up_requests_as_the_page_says(edited: Live, address: str, mode: GenerationMode) -> None:
    operation = next(one for one in operations(edited) if one.path == address)
    if mode is GenerationMode.NEGATIVE and operation.method == "get":
        pytest.skip("a request without parameters cannot be wrong")

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def asked(case: schemathesis.Case, known: bool) -> None:
        if mode is GenerationMode.POSITIVE and known and isinstance(case.body, dict):
            # Made-up texts and names would never reach what is behind the first look.
            case.body |= {key: value for key, value in (("source", SOURCE), ("model", "tiny")) if key in case.body}
            if "format" in case.body:
                case.body["format"] = "own"
            for one in case.body.get("instructions", ()):
                one["source"] = SOURCE
            for one in case.body.get("ways", ()):
                one |= {"model": "tiny", "format": "own"}
            if "cases" in case.body:
                case.body["cases"] = CASES
        answer = case.call(headers={"Authorization": f"Bearer {KEY}"})
        if answer.status_code == 413:  # a body of megabytes is refused before anybody looks at what is wrong with it
            return
        case.validate_response(answer, checks=CHECKS)

    asked()


def test_the_editor_needs_the_key(edited: Live) -> None:
    for address in UI:
        for method in ("GET", "POST"):
            request = urllib.request.Request(
                f"{edited.root}{address}", b"{}" if method == "POST" else None, method=method
            )
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=60)
            assert refused.value.code == 401
