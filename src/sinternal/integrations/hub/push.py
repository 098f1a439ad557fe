"""An exported folder on the Hugging Face hub: private, unless its owner says that it is to be public.

The token is the hub's own: HF_TOKEN, or what `hf auth login` has stored. It is no option, so that it is in no history.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sinternal.errors import SInternalError
from sinternal.extras import require
from sinternal.integrations.hub.data import TRAIN
from sinternal.integrations.hub.folder import CARD
from sinternal.integrations.hub.models import is_public
from sinternal.models.resolve import adapter_base, is_model
from sinternal.redaction import redacted_text

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
HARMFUL = (
    "the folder holds, or was trained on, texts that quote harmful requests and unsafe answers: make sure that the "
    "licences of its sources, and the hub's rules, let it be public"
)

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Variables that the hub's library takes a token from, the first that is set."""
NO_TOKEN = "the hub wants a token, and there is none; nothing was sent: set HF_TOKEN, or run: hf auth login"


@dataclass(frozen=True)
class Pushed:
    """What was sent."""

    address: str
    """Where it can be seen."""
    private: bool
    """Whether its owner alone can see it."""


def kind_of(folder: Path) -> str:
    """What a folder is for the hub: `model` or `dataset`. Raises SInternalError if it is neither."""
    if not folder.is_dir():
        raise SInternalError(f"{folder}: there is no such folder; `sinternal export` writes one")
    if not (folder / CARD).is_file():
        raise SInternalError(f"{folder}: there is no card ({CARD}) in it; `sinternal export` writes folders with one")
    if is_model(folder):
        base = adapter_base(folder)
        if base is not None and not is_public(base):
            raise SInternalError(
                f"{folder}: the adapter names its base by a path of this machine, where nobody else finds it: export "
                "it with --base OWNER/NAME, or with --merge"
            )
        return "model"
    if (folder / TRAIN).is_file():
        return "dataset"
    raise SInternalError(f"{folder}: it holds neither a model nor a training set; `sinternal export` writes both")


class Aim(NamedTuple):
    """Where a push goes, before anything is sent."""

    kind: str
    """`model` or `dataset`."""
    address: str
    """Of the repository."""
    token: str | None
    """Where the token comes from, in words; None if there is none."""

    def in_words(self) -> str:
        """One line."""
        return f"pushing a {self.kind} to {self.address}, with {self.token or 'no token'}"


def aim(folder: Path, repo: str) -> Aim:
    """Find out where a push would go, without asking anybody.

    Args:
        folder: see `push`.
        repo: see `push`.

    Raises:
        SInternalError: there is no such folder, or the repository cannot be called so.
    """
    kind = kind_of(folder)
    if not NAME.fullmatch(repo):
        raise SInternalError(f"--repo {repo}: write it as owner/name")
    require("sinternal push", "huggingface_hub")
    from huggingface_hub import constants, get_token

    endpoint = constants.ENDPOINT.rstrip("/")
    address = f"{endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo}"
    variable = next((name for name in TOKENS if os.environ.get(name, "").strip()), None)
    if get_token() is None:
        token = None
    elif variable is not None:
        token = f"the token of {variable}"
    else:
        token = f"the token that `hf auth login` has stored ({constants.HF_TOKEN_PATH})"
    return Aim(kind, redacted_text(address), token)


def push(folder: Path, repo: str, *, public: bool = False) -> Pushed:
    """Send a folder to the hub.

    Args:
        folder: that `export_model` or `export_data` has written.
        repo: `owner/name`; made if it is not there.
        public: whether everybody may see it.

    Raises:
        SInternalError: there is no such folder, the hub refuses, or the repository is public and was to be private.
    """
    kind, _, token = aim(folder, repo)
    if token is None:
        raise SInternalError(NO_TOKEN)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi(library_name="sinternal")
    try:
        address = str(api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True))
        private = bool(api.repo_info(repo, repo_type=kind).private)
        if not private and not public:
            raise SInternalError(f"{address} is there already and public: make it private, or give --public")
        api.upload_folder(repo_id=repo, repo_type=kind, folder_path=folder, commit_message="sinternal push")
    except LocalTokenNotFoundError as error:
        raise SInternalError(NO_TOKEN) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status == 401:
            raise SInternalError("the hub refuses the token: set HF_TOKEN to one that may write, or log in") from error
        words = " ".join(str(error.server_message or error).split())[:300]
        raise SInternalError(f"{repo}: the hub refuses ({words}); see that the token may write there") from error
    except SInternalError:
        raise
    except Exception as error:  # of the HTTP client, which is another by the version of the hub's library
        raise SInternalError(f"{repo}: the hub cannot be reached ({' '.join(str(error).split())[:200]})") from error
    return Pushed(address, private)
