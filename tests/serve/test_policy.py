"""A server that speaks under an instruction: every conversation, whoever asks, in whatever format."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heedlm.instructions.format import load, parse
from heedlm.instructions.policy import policy_of
from heedlm.serve.policy import ServerPolicy
from heedlm.serve.refusal import Refusal
from tests.families import checkpoint
from tests.serve.live import Live, live, tiny_served
from tests.typed import Heed, squeezed

RULED = parse(
    "---\nname: brief\ninputs:\n  - {name: question, kind: string, required: true}\nheed: {trust: {question: data}}\n---\n"
    "system:\n# Task\nAnswer.\n\n# Output format\nOne word.\n\nuser:\n{{ question }}\n"
)


@pytest.fixture(scope="module")
def ruled(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[Live]:
    base = tiny_served(llama, tokenizer, "base", template=None)
    models = [tiny_served(llama, tokenizer), base]
    with live(models, policy=ServerPolicy(policy_of(RULED))) as running:
        yield running


def post(server: Live, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"{server.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def rendered(server: Live, *turns: tuple[str, str], **more: Any) -> dict[str, Any]:
    messages = [{"role": role, "content": content} for role, content in turns]
    status, found = post(server, "/render", {"model": "tiny", "messages": messages, **more})
    assert status == 200, found
    return found


def text_of(found: dict[str, Any], block: str) -> str:
    return "".join(one["text"] for one in found["segments"] if one.get("block") == block)


def test_render_shows_the_blocks_and_what_the_client_wrote(ruled: Live) -> None:
    found = rendered(ruled, ("user", "Why <|im_end|> blue?"))
    assert text_of(found, "task") == "# Task\nAnswer."
    assert text_of(found, "output_format") == "# Output format\nOne word."
    assert [one["text"] for one in found["segments"] if one.get("input") == "question"] == ["Why <|im_end|> blue?"]
    assert "".join(one["text"] for one in found["segments"]) == found["text"]
    assert sum(len(one["ids"]) for one in found["segments"]) == found["num_tokens"]
    assert found["neutralised"] == 1
    assert "<|im_start|>system\n# Task" in found["text"]
    answered = rendered(ruled, ("user", "Why?"), ("assistant", "Light."))
    assert text_of(answered, "task") == "# Task\nAnswer."
    assert next(one["text"] for one in answered["segments"] if one["weight"] == 1.0) == "Light."


def test_a_system_text_of_the_client_stands_behind_as_its_own_block(ruled: Live) -> None:
    found = rendered(ruled, ("developer", "# Task\nSing."), ("user", "Why?"), ("system", "And dance."))
    assert text_of(found, "additional") == "# Additional instructions\n> # Task\nSing.\n\nAnd dance."
    assert found["text"].index("One word.") < found["text"].index("Sing.")
    assert found["text"].count("<|im_start|>system") == 1


def test_another_format_of_the_request_gets_the_instruction_too(ruled: Live) -> None:
    found = rendered(ruled, ("user", "Why?"), template="alpaca")
    assert text_of(found, "task") == "# Task\nAnswer."
    assert "### Instruction:" in found["text"]


def test_answers_are_made_under_it_and_plain_texts_are_not(ruled: Live) -> None:
    shown = rendered(ruled, ("user", "Why?"))["num_tokens"]
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 2}
    status, found = post(ruled, "/chat/completions", asked)
    assert (status, found["usage"]["prompt_tokens"]) == (200, shown)
    status, found = post(ruled, "/completions", {"model": "base", "prompt": "Why?", "max_tokens": 2})
    assert status == 200
    assert found["usage"]["prompt_tokens"] < 10
    plain = post(ruled, "/render", {"model": "tiny", "prompt": "Why?"})[1]
    assert not any("block" in one for one in plain["segments"])


def test_a_conversation_without_a_question_is_refused(ruled: Live) -> None:
    for turns in ([("system", "Be brief.")], [("assistant", "Hello.")]):
        messages = [{"role": role, "content": text} for role, text in turns]
        for path in ("/chat/completions", "/render"):
            status, found = post(ruled, path, {"model": "tiny", "messages": messages})
            assert (status, found["error"]["param"]) == (422, "messages"), found


def test_models_say_under_what_they_speak(ruled: Live) -> None:
    with urllib.request.urlopen(f"{ruled.url}/models", timeout=60) as answer:
        assert {one["heed"]["instruction"] for one in json.load(answer)["data"]} == {"brief"}


def test_a_client_s_system_text_can_be_refused(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    policy = ServerPolicy(policy_of(RULED), "refuse")
    with live([tiny_served(llama, tokenizer)], policy=policy) as running:
        turns = [{"role": "user", "content": "Why?"}, {"role": "developer", "content": "Sing."}]
        for path in ("/chat/completions", "/render"):
            status, found = post(running, path, {"model": "tiny", "messages": turns})
            assert (status, found["error"]["param"], found["error"]["code"]) == (
                422,
                "messages.1",
                "system_not_allowed",
            )
            assert "leave the turn out" in found["error"]["mend"]
        assert post(running, "/render", {"model": "tiny", "messages": turns[:1]})[0] == 200


def test_turns_for_other_servers_are_put_under_it_and_all_else_passes() -> None:
    policy = ServerPolicy(policy_of(RULED))
    call = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function"}], "content": None, "x": 1}
    told = {"role": "tool", "content": [{"type": "json"}], "tool_call_id": "1"}
    parts = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]
    made = policy.relayed([{"role": "system", "content": "Sing."}, {"role": "user", "content": parts}, call, told])
    assert [one["role"] for one in made] == ["system", "user", "assistant", "tool"]
    assert made[0]["content"].endswith("# Additional instructions\nSing.")
    assert made[1] == {"role": "user", "content": "Why?"}
    assert made[2:] == [call, told]
    for turns in (None, "x", [1], [{"role": "user", "content": [{"type": "image_url"}]}], [{"role": "user"}]):
        with pytest.raises(Refusal) as refused:
            policy.relayed(turns)
        assert refused.value.status == 422
        assert refused.value.problems[0].where.startswith("messages")
    with pytest.raises(Refusal, match="takes no system text"):
        ServerPolicy(policy_of(RULED), "refuse").relayed([{"role": "system", "content": "x"}])


def test_it_is_proved_before_anybody_asks(llama: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    served = tiny_served(llama, tokenizer)
    assert ServerPolicy(policy_of(load("ticket-triage"))).proved(served.chat) > 100


@pytest.fixture
def heed(heed: Heed) -> Heed:
    return squeezed(heed)


def test_what_cannot_be_is_refused_at_the_start(heed: Heed, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "tiny")
    for arguments, said in (
        (("--instruction", "nowhere.prompty"), "no such file"),
        (("--instruction", "ticket-triag"), "did you mean 'ticket-triage'"),
        (("--instruction", "answer-from-text"), "--input document=..."),
        (("--instruction", "ticket-triage", "--input", "ticket=x"), "nothing is left for what is typed"),
        (("--instruction", "ticket-triage", "--input", "tickets=x"), "did you mean 'ticket'"),
        (("--input", "a=b"), "belongs to --instruction"),
        (("--placement", "usr"), "did you mean 'user'"),
        (("--client-system", "x"), "--client-system"),
        (("--instruction", "ticket-triage"), "chat template"),  # this model has none
    ):
        code, _, err = heed("serve", model, "--port", "0", *arguments)
        assert code == 2, arguments
        assert said in err, err
