"""Uploading, with the hub played by a recorder: private unless asked otherwise, refused in time, the folder untouched."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from heedlm.errors import HeedError
from heedlm.model.push import check_push, push


def hub_error(kind: type[Exception], text: str) -> Exception:
    """An error of the hub's client as it is raised, without the answer that it wraps."""
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


class Hub:
    """Notes what is asked of it. there: the repository exists; private: so it is; fails: what uploading raises."""

    def __init__(self, there: bool = False, private: bool = True, fails: Exception | None = None) -> None:
        self.there, self.private, self.fails = there, private, fails
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def whoami(self) -> dict[str, str]:
        return {"name": "me"}

    def repo_info(self, repo: str) -> SimpleNamespace:
        if not self.there:
            raise hub_error(errors.RepositoryNotFoundError, "404")
        return SimpleNamespace(private=self.private)

    def create_repo(self, repo: str, **options: Any) -> str:
        self.asked.append(("create_repo", {"repo": repo, **options}))
        return f"https://huggingface.co/{repo}"

    def upload_folder(self, **options: Any) -> None:
        if self.fails:
            raise self.fails
        self.asked.append(("upload_folder", options))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub on which somebody is logged in and nothing is there yet."""
    made = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return made


def test_a_new_repository_is_private(hub: Hub, tmp_path: Path) -> None:
    check_push("me/model")
    assert hub.asked == []
    assert push(tmp_path, "me/model") == "https://huggingface.co/me/model"
    assert hub.asked[0] == ("create_repo", {"repo": "me/model", "private": True, "exist_ok": True})
    assert hub.asked[1][0] == "upload_folder"
    assert hub.asked[1][1]["folder_path"] == tmp_path
    assert hub.asked[1][1]["repo_id"] == "me/model"


def test_it_is_public_only_when_that_is_asked(hub: Hub, tmp_path: Path) -> None:
    push(tmp_path, "me/model", public=True)
    assert hub.asked[0][1]["private"] is False


@pytest.mark.parametrize("private", [True, False])
def test_nothing_private_lands_where_everybody_reads(hub: Hub, tmp_path: Path, private: bool) -> None:
    hub.there, hub.private = True, private
    if private:
        push(tmp_path, "me/model")
        return
    for attempt in (lambda: check_push("me/model"), lambda: push(tmp_path, "me/model")):
        with pytest.raises(HeedError, match="everybody can read it") as caught:
            attempt()
        assert "--public" in caught.value.problems[0].mend
    assert hub.asked == []
    push(tmp_path, "me/model", public=True)
    assert [name for name, _ in hub.asked] == ["create_repo", "upload_folder"]


def test_without_a_login_nothing_is_begun(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(HeedError, match="Nobody is logged in") as caught:
        check_push("me/model")
    assert caught.value.problems[0].mend == "hf auth login, or set HF_TOKEN"


def test_offline_and_bad_names_are_told_before_any_work(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model", "a/b/c", "me/my model", ""):
        with pytest.raises(HeedError, match="OWNER/NAME"):
            check_push(name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HeedError, match="HF_HUB_OFFLINE"):
        check_push("me/model")


def test_a_refused_token_is_told_before_any_work(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise hub_error(errors.HfHubHTTPError, "401 Client Error: Unauthorized\n\nInvalid credentials")

    monkeypatch.setattr(hub, "whoami", refused)
    with pytest.raises(HeedError, match="401 Client Error: Unauthorized") as caught:
        check_push("me/model")
    assert "hf upload" not in caught.value.problems[0].mend


@pytest.mark.parametrize("error", [hub_error(errors.HfHubHTTPError, "403 Forbidden"), OSError("no route to host")])
def test_an_upload_that_fails_ends_with_the_command_that_goes_on(hub: Hub, tmp_path: Path, error: Exception) -> None:
    (tmp_path / "config.json").write_text("{}")
    hub.fails = error
    with pytest.raises(HeedError, match=str(error)) as caught:
        push(tmp_path, "me/model")
    assert caught.value.problems[0].mend.endswith(f"hf upload me/model {tmp_path} --private")
    assert (tmp_path / "config.json").read_text() == "{}"
