"""The command `heed serve`: models on this machine behind an OpenAI-compatible API."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedlm.errors import HeedError, nearest
from heedlm.runs import DEMO
from heedlm.screen import Screen

if TYPE_CHECKING:
    from heedlm.serve.api import Pages
    from heedlm.serve.models import Served
    from heedlm.serve.options import Options
    from heedlm.serve.playground_instruction import Workshop
    from heedlm.serve.policy import ServerPolicy
    from heedlm.serve.relay import Endpoint

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN...", help=f"Runs, model folders, `atlas`, hub ids, http://HOST/v1#MODEL (default: {DEMO})."
    ),
]
Host = Annotated[str, typer.Option("--host", help="Where to listen; beyond this machine only with a key.")]
Port = Annotated[int, typer.Option("--port", help="0 takes any that is free.", min=0, max=65535)]
Template = Annotated[
    str | None, typer.Option("--template", help="A chat template for models that have none: a name, or a Jinja file.")
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, mps; the best there is by default.")]
Places = Annotated[int, typer.Option("--places", help="Replies made at the same time, for each model.", min=1)]
KeysFile = Annotated[Path | None, typer.Option("--keys", help="A file with one API key on each line.")]
Queue = Annotated[int, typer.Option("--queue", help="Replies that may wait for a place; beyond that 429.", min=0)]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds that one request may take.", min=1)]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Longest reply, also where a request is silent.", min=1)]
MaxChoices = Annotated[int, typer.Option("--max-choices", help="Replies that one request may ask for.", min=1)]
MaxBody = Annotated[int, typer.Option("--max-body", help="Largest request, in KiB.", min=1)]
PerMinute = Annotated[
    int | None, typer.Option("--requests-per-minute", help="For each key, or each address without keys.", min=1)
]
TokensPerMinute = Annotated[
    int | None, typer.Option("--tokens-per-minute", help="Prompt and reply, for each key or address.", min=1)
]
Memory = Annotated[
    int, typer.Option("--prefix-cache", help="MiB for beginnings that prompts share, for each model; 0: none.", min=0)
]
LogPrompts = Annotated[bool, typer.Option("--log-prompts", help="Write what is asked and answered into the log.")]
Ui = Annotated[bool, typer.Option("--ui", help="The playground, in a browser, at the same address.")]
Store = Annotated[Path, typer.Option("--store", help="With --ui: where mended answers are kept, as training rows.")]
Cases = Annotated[Path, typer.Option("--cases", help="With --ui: where saved cases are kept.")]
Instruction = Annotated[
    str | None,
    typer.Option("--instruction", help="A .prompty file, or a name of `heed prompt list`, behind every conversation."),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", help="NAME=TEXT or NAME=@FILE: inputs of the instruction but the one that users fill."),
]
Placement = Annotated[
    str | None, typer.Option("--placement", help="Where the instruction stands: system, or user (the first message).")
]
ClientSystem = Annotated[
    str, typer.Option("--client-system", help="With --instruction, a client's own system text: behind, or refuse.")
]
Prompts = Annotated[Path, typer.Option("--prompts", help="With --ui: the folder of instructions written there.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output once it serves.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No line for each request.")]


def serve(
    models: Models = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    template: Template = None,
    device: Device = None,
    places: Places = 32,
    keys: KeysFile = None,
    queue: Queue = 256,
    timeout: Timeout = 600.0,
    max_tokens: MaxTokens = 2048,
    max_choices: MaxChoices = 8,
    max_body: MaxBody = 4096,
    requests_per_minute: PerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    prefix_cache: Memory = 64,
    log_prompts: LogPrompts = False,
    ui: Ui = False,
    store: Store = Path("human.jsonl"),
    cases: Cases = Path("cases.jsonl"),
    prompts: Prompts = Path("prompts"),
    instruction: Instruction = None,
    inputs: Inputs = None,
    placement: Placement = None,
    client_system: ClientSystem = "behind",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Serve models with an OpenAI-compatible API; template, stops and system text come from the run. Ctrl-C ends it.

    Keys: --keys FILE, or the variable HEED_API_KEYS with commas between them.

    Example: heed serve runs/demo atlas --ui
    """
    screen = Screen(as_json, quiet)
    _check_installed()
    from heedlm.serve.auth import KEYS_VARIABLE, check_host, read_keys
    from heedlm.serve.listen import bound
    from heedlm.serve.options import Options

    given = models or [DEMO]
    if not models and not Path(DEMO).exists():
        raise HeedError(
            "There is no demo run here yet.", DEMO, "heed demo   (minutes), or name a model: heed serve MODEL"
        )
    options = Options(
        keys=read_keys(os.environ.get(KEYS_VARIABLE, ""), keys),
        queue=queue,
        timeout=timeout,
        max_body=max_body * 1024,
        max_tokens=max_tokens,
        max_choices=max_choices,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        log_prompts=log_prompts,
    )
    check_host(host, options.keys)
    policy = _policy(instruction, inputs or [], placement, client_system)
    how = {"template": template, "device": device, "batch_size": places, "memory_bytes": prefix_cache * 2**20}
    # What can be refused at once is refused before a model is loaded, which takes seconds.
    with closing(bound(host, port)) as listening:
        files = (store, cases, prompts) if ui else None
        _listen(screen, given, how, options, listening, policy, files)
    screen.say("stopped")


def _listen(
    screen: Screen,
    given: list[str],
    how: Mapping[str, Any],
    options: Options,
    listening: socket.socket,
    policy: ServerPolicy | None,
    files: tuple[Path, Path, Path] | None,
) -> None:
    """Load the models and serve them until somebody ends it. files: of the playground; None for none."""
    from heedlm.serve.api import create_app
    from heedlm.serve.listen import address_of
    from heedlm.serve.listen import serve as run
    from heedlm.serve.models import open_models
    from heedlm.serve.playground_instruction import Workshop
    from heedlm.serve.playground_seats import seats_of

    here, elsewhere = _here_and_elsewhere(given)
    screen.say(f"loading {', '.join(here)} ..." if here else "nothing to load")
    served = open_models(here, **how)
    _say_notes(screen, served)
    if policy is not None:
        _say_policy(screen, policy, served, elsewhere)
    pages = None
    if files is not None:
        shop = Workshop(files[2], seats_of(served, elsewhere))
        ruled = policy.name if policy is not None else ""
        pages = _playground((here or [""])[0], *files[:2], shop, ruled, key_needed=bool(options.keys))
    address = address_of(listening)
    _log(screen.quiet)

    def ready() -> None:
        names = [*(one.name for one in served), *(one.name for one in elsewhere)]
        screen.say(f"serving {', '.join(names)} at {address}/v1" + (f", playground at {address}/ui/" if pages else ""))
        if screen.as_json:
            screen.result({"url": f"{address}/v1", "models": names, "pid": os.getpid()})

    run(
        create_app(served, options, pages, elsewhere, policy),
        listening,
        headers_timeout=options.body_timeout,
        grace=min(options.timeout, 30.0),
        ready=ready,
    )


def _policy(name: str | None, inputs: list[str], placement: str | None, client_system: str) -> ServerPolicy | None:
    """The instruction behind every conversation; None for none. Raises HeedError for options that do not belong together."""
    from heedlm.instructions.layout import PLACEMENTS
    from heedlm.serve.policy import CLIENT_SYSTEM, ServerPolicy

    for option, value, known in (
        ("--placement", placement, PLACEMENTS),
        ("--client-system", client_system, CLIENT_SYSTEM),
    ):
        if value is not None and value not in known:
            raise HeedError(f"{option} is {value!r}", option, nearest(value, known))
    if name is None:
        if inputs:
            raise HeedError("--input belongs to --instruction.", "--input", "--instruction FILE, or leave it out")
        return None
    from heedlm.instructions.format import load
    from heedlm.instructions.given import values_of
    from heedlm.instructions.policy import policy_of

    found = load(name)
    return ServerPolicy(policy_of(found, values_of(found, inputs), placement), client_system)  # type: ignore[arg-type]


def _say_policy(screen: Screen, policy: ServerPolicy, served: list[Served], elsewhere: list[Endpoint]) -> None:
    """Prove the instruction on every model, and say what comes of it. Raises HeedError where a block would be lost."""
    able = [one for one in served if one.has_template]
    if not able and not elsewhere:
        raise HeedError(
            "None of these models has a chat template, and an instruction stands in a conversation.",
            "--instruction",
            "--template chatml, or serve a tuned model",
        )
    counts = {one.name: policy.proved(one.chat) for one in able}
    told = ", ".join(f"{count:,} tokens in {name}" for name, count in counts.items())
    if elsewhere:
        policy.policy.prove()
        names = ", ".join(one.name for one in elsewhere)
        told += f"{', ' if told else ''}as messages to {names}, whose templates are out of our sight"
    screen.say(f"every conversation stands under {policy.name}: {told}")
    for one in served:
        if not one.has_template:
            screen.warn(f"{one.name} continues plain texts, which have no place for {policy.name}")
    for note in policy.policy.notes:
        screen.say(f"{policy.name}: {note}")


def _here_and_elsewhere(given: list[str]) -> tuple[list[str], list[Endpoint]]:
    """Models to load, and those of other servers. Raises HeedError for a server that lists none."""
    from heedlm.serve.names import names_of
    from heedlm.serve.relay import endpoints_of, is_endpoint

    here = [name for name in given if not is_endpoint(name)]
    there = [name for name in given if is_endpoint(name)]
    return here, endpoints_of(there, os.environ.get("OPENAI_API_KEY"), names_of(here))


def _check_installed() -> None:
    """Raises HeedError where the packages that serve are not there."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise HeedError(
            f"Serving needs {error.name}, which is not installed.", "heed serve", "pip install 'heedlm[serve]'"
        ) from None


def _say_notes(screen: Screen, served: list[Served]) -> None:
    for one in served:
        if not one.has_template:
            screen.warn(
                f"{one.name} has no chat template: it answers /v1/completions; for conversations start with --template "
                'chatml, or send "template": "chatml"'
            )
        elif one.chat.template.note:
            screen.say(f"{one.name}: {one.chat.template.note}")


def _playground(
    first: str,
    store: Path,
    cases: Path,
    workshop: Workshop,
    ruled: str,
    *,
    key_needed: bool,
) -> Pages:
    from heedlm.serve.playground import Playground
    from heedlm.serve.playground_desk import Desk

    run = Path(first) if first and (Path(first) / "run.json").is_file() else None
    beside = cases.parent
    desk = Desk(
        store=store,
        keep_cases=cases,
        keep_votes=beside / "votes.jsonl",
        recipe=beside / "next.yaml",
        run=run,
        model=first,
    )
    return Playground(desk, workshop=workshop, policy=ruled, key_needed=key_needed)


def _log(quiet: bool) -> None:
    """A line for each request on standard error, and what went wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    for name in ("heedlm.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.WARNING if quiet or name == "uvicorn.error" else logging.INFO)
