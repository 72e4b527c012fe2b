"""Opening a conversation: a model on this machine, or one behind an endpoint that is there and knows it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from heedlm.errors import HeedError, nearest
from heedlm.messages import Chat

UNNAMED = "default"  # what `--name` holds where nobody gave one
_PATIENCE = 5.0  # seconds for an endpoint to say that it is there


def open_chat(name: str, template: str | None = None) -> Chat:
    """A chat by what a person types: a run, a folder, `atlas`, a hub id, or an endpoint as http://HOST/v1#MODEL.

    Raises HeedError for what is not there.
    """
    if is_endpoint(name):
        url, _, model = name.partition("#")
        return open_endpoint(url, model or UNNAMED)
    check_protocol(name)
    from heedlm.generate.chat import load_chat
    from heedlm.model.load import resolve

    return load_chat(resolve(name), template, name=name)


def check_protocol(name: str) -> None:
    """Raises HeedError for HOST:PORT, which is no model's name."""
    if re.fullmatch(r"[\w.-]+:\d+(/\S*)?", name):
        raise HeedError("This looks like an endpoint without its protocol.", name, f"heed chat http://{name}")


def is_endpoint(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def open_endpoint(url: str, model: str) -> Chat:
    """A model of an endpoint, which is asked first whether it is there and has the model.

    model: UNNAMED takes the only one that it serves.   Raises HeedError where nobody answers, where the key is refused, and for a
    model that it does not list.
    """
    from heedlm.generate.remote import RemoteChat

    key = os.environ.get("OPENAI_API_KEY")
    served = _served(RemoteChat(url, model, key), url)
    if served and model == UNNAMED and UNNAMED not in served:
        if len(served) > 1:
            raise HeedError(
                f"The endpoint serves {len(served):,} models.", url, f"--name with one of: {', '.join(served)}"
            )
        model = served[0]
    elif served and model not in served:
        raise HeedError(f"The endpoint serves no model {model!r}.", url, f"--name: {nearest(model, served)}")
    return RemoteChat(url, model, key)


def _served(chat: Any, url: str) -> Sequence[str]:
    """Names of the models that an endpoint lists; none where it does not list them."""
    import openai

    try:
        listed = chat.client.with_options(timeout=_PATIENCE, max_retries=0).models.list()
        return [str(one.id) for one in getattr(listed, "data", None) or ()]
    except openai.APITimeoutError:
        what, mend = f"The endpoint did not answer within {_PATIENCE:.0f} seconds.", "see whether it is still loading"
    except openai.APIConnectionError:
        what = "The endpoint cannot be reached."
        mend = "start the server (heed serve RUN, vllm serve, llama-server, ollama serve), or check the address"
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        what, mend = f"The endpoint refuses the key ({error.status_code}).", "set OPENAI_API_KEY to a key that it knows"
    except openai.NotFoundError:
        # It is there, and this path is not: some lists are missing, more often /v1 is.
        what, mend = "There is a server, and it has no list of models at this address.", f"{url.rstrip('/')}/v1 ?"
        if re.search(r"/v\d+$", url.rstrip("/")):
            return ()
    except openai.InternalServerError as error:
        if error.status_code not in (502, 503, 504):
            return ()
        what, mend = (
            f"Nobody answers behind this address ({error.status_code}).",
            "see whether the server behind it runs",
        )
    except openai.APIError:
        return ()  # a server that answers, and keeps its list to itself
    raise HeedError(what, url, mend)


def model_behind(path: str, named: str | None) -> Callable[[], Chat] | None:
    """How to load the model for /base: the one that is `named`, else the one that `path` was tuned from."""
    from heedlm.generate.chat import load_chat
    from heedlm.model.load import resolve, resolve_here
    from heedlm.model.save import read_card

    tuned_from = named or read_card(path).get("base")
    if not tuned_from:
        return None
    folder = resolve(named) if named else resolve_here(tuned_from)

    def load() -> Chat:
        if folder is None:
            mend = "leave, and start again with --base FOLDER, or with --base and its hub id"
            raise HeedError("The base of this model is not on this machine.", str(tuned_from), mend)
        return load_chat(folder, name=str(tuned_from))

    return load
