"""Hub ids: asked for once and briefly, so that a typo or a missing network is told in seconds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from threading import Thread

from heedlm.errors import HeedError

SECONDS = 4.0  # for the hub to answer whether it has a model; loading itself may take as long as it takes


@lru_cache(maxsize=64)
def locate(name: str) -> str:
    """`name` itself where the hub has such a model; the folder of its copy in the cache where the hub is silent.

    Raises HeedError when there is neither, after `SECONDS` at most.
    """
    from huggingface_hub import errors

    held = cached(name)
    answer = _ask(name)
    if answer is None:
        return name
    if isinstance(answer, errors.GatedRepoError):
        mend = f"accept its licence at https://huggingface.co/{name}, then log in: hf auth login"
        raise HeedError("The hub gives this model only to people who accepted its licence.", name, mend)
    if isinstance(answer, errors.RepositoryNotFoundError):
        mend = "check the spelling (a hub id is ORG/NAME); for a private model log in: hf auth login"
        raise HeedError(
            "There is no such folder or run here, and the hub has no public model of this name.", name, mend
        )
    if isinstance(answer, errors.EntryNotFoundError):
        mend = "name one in Hugging Face layout: config.json, safetensors, a tokenizer"
        raise HeedError("This hub repository holds no model that can be tuned: it has no config.json.", name, mend)
    if isinstance(answer, errors.HfHubHTTPError):
        return name  # the hub is there and busy: the library knows how to wait for it
    if held is None:
        what = f"There is no such folder or run here, it is not in the hub's cache, and {_silence(answer)}."
        raise HeedError(what, name, "connect to the network, or name a model folder")
    return str(held)


def cached(name: str) -> Path | None:
    """The folder in the hub's cache that holds this model, if one does. Raises HeedError for what cannot be a hub id."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        what = "There is no such folder or run here, and this cannot be a hub id."
        raise HeedError(what, name, "name a model folder, or a hub id like ORG/NAME") from None
    return Path(found).parent if isinstance(found, str) else None


def _ask(name: str) -> Exception | None:
    """What stands in the way of fetching the model's config, as the hub's own error; None when nothing does."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    found: list[Exception | None] = []

    def ask() -> None:
        try:
            get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=SECONDS)
        except Exception as error:  # noqa: BLE001 - any of a dozen types, each an answer
            found.append(error)
        else:
            found.append(None)

    # In a thread, because looking up a host's address obeys no timeout.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return found[0] if found else TimeoutError()


def _silence(error: Exception) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    offline = isinstance(error, OfflineModeIsEnabled)
    return "HF_HUB_OFFLINE forbids asking the hub" if offline else "the hub does not answer"
