"""A finished model onto the Hugging Face hub: only when asked, and private unless asked otherwise."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from heedlm.errors import HeedError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

WHERE = "--push"


def check_push(repo: str, *, public: bool = False) -> None:
    """See before any work that `repo` is a name the hub takes, that somebody is logged in, and that nothing private
    would land in a repository that others read. Raises HeedError; asks the hub, writes nothing.
    """
    from huggingface_hub import HfApi, constants, errors, get_token

    if re.fullmatch(r"[\w.-]+/[\w.-]+", repo) is None:
        raise HeedError("A repository on the hub is named OWNER/NAME.", f"{WHERE} {repo}", f"{WHERE} OWNER/NAME")
    if constants.HF_HUB_OFFLINE:
        raise HeedError("HF_HUB_OFFLINE forbids asking the hub.", f"{WHERE} {repo}", "unset HF_HUB_OFFLINE")
    if get_token() is None:
        raise HeedError("Nobody is logged in to the hub.", f"{WHERE} {repo}", "hf auth login, or set HF_TOKEN")
    api = HfApi()
    try:
        api.whoami()
        _check_readers(api, repo, public)
    except (errors.HFValidationError, errors.HfHubHTTPError, OSError) as error:
        raise _refused(repo, error) from error


def push(folder: Path, repo: str, *, public: bool = False) -> str:
    """Upload a model folder as it stands; returns the address. A repository that is not there is made, private by default.

    Raises HeedError where the hub refuses; the folder on disk is not touched.
    """
    from huggingface_hub import HfApi, errors

    api = HfApi()
    try:
        _check_readers(api, repo, public)
        address = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Tuned with heed")
    except (errors.HfHubHTTPError, OSError) as error:
        raise _refused(repo, error, folder, public) from error
    return str(address)


def _check_readers(api: HfApi, repo: str, public: bool) -> None:
    """A repository that is public already would make the model public: only where that was asked for."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        private = api.repo_info(repo).private
    except RepositoryNotFoundError:
        return
    if not private and not public:
        raise HeedError(
            "This repository is there already, and everybody can read it.",
            f"{WHERE} {repo}",
            "add --public if that is meant, or name another repository",
        )


def _refused(repo: str, error: Exception, folder: Path | None = None, public: bool = False) -> HeedError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    again = "check the name, the token's rights (hf auth whoami) and the network"
    if folder is not None:
        again += f"; the model is saved, then: hf upload {repo} {os.fspath(folder)}{'' if public else ' --private'}"
    return HeedError(f"The hub refused: {reason}", f"{WHERE} {repo}", again)
