"""Runs on the Hugging Face Hub: ``user/name`` or ``user/name@revision``, read as data and written."""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distill.utils.errors import STORAGE, UserError
from distill.utils.hub import reason

SUMMARY = "summary.json"
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
TIMEOUT_S = 10.0
_NAME = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?")
# What is fetched: JSON, safetensors and a tokenizer's files, by names that lead nowhere else.
_READ = re.compile(
    r"summary\.json|student[\w.-]*\.safetensors|(\w+/)?model/(1_Pooling/)?\w+\.json"
    r"|(teacher_)?tokenizer/\w[\w.-]*\.(json|txt|model|jinja)"
)


def is_name(path: str | Path) -> bool:
    """Whether what is no path here may be a repository: ``user/name``, where no folder ``user`` is here.

    ``outputs``, where runs are, is no user.

    Example:
        >>> is_name("somebody/resnet8-digits@v1"), is_name("outputs/x"), is_name("a/b/c")
        (True, False, False)
    """
    found = _NAME.fullmatch(str(path))
    user = str(path).partition("/")[0]
    return (
        found is not None and not str(path).endswith(".safetensors") and user != "outputs" and not Path(user).exists()
    )


def check_name(repo: str) -> None:
    """A UserError unless a repository may have that name."""
    from huggingface_hub import utils
    from huggingface_hub.errors import HFValidationError

    client: Any = utils  # its stubs lack some of its names
    try:
        client.validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"{repo!r} is no name of the Hugging Face Hub: {_told(error)}") from error
    if repo.count("/") != 1:
        raise UserError(f"{repo!r} is no name of the Hugging Face Hub: give user/name")


def pull(name: str) -> Path:
    """The folder, in the Hub's cache, of a run that ``distill push`` wrote; the network is not needed where it has it.

    Raises:
        UserError: there is no such repository or revision, it holds no run, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    found = _NAME.fullmatch(name)
    if found is None:
        raise UserError(f"{name!r} is no name of the Hugging Face Hub: give user/name, or user/name@revision")
    repo, revision = found.groups()
    check_name(repo)
    with _explained(f"run {name} is not here, and", reading=True), _bars():
        try:
            info = HfApi(library_name="distill").model_info(repo, revision=revision, timeout=TIMEOUT_S)
        except HfHubHTTPError:
            raise
        except Exception:  # no network
            cached = try_to_load_from_cache(repo, SUMMARY, revision=revision)
            if isinstance(cached, str):
                return Path(cached).parent
            raise
        files = [file.rfilename for file in info.siblings or () if _READ.fullmatch(file.rfilename)]
        if SUMMARY not in files:
            raise UserError(f"{repo} on the Hub holds no run of distill push: it has no {SUMMARY}")
        return Path(snapshot_download(repo, revision=revision, allow_patterns=files))


def push(repo: str, files: Mapping[str, Path | bytes], private: bool, revision: str | None, message: str) -> str:
    """Writes files, by their paths in the repository, as one commit; repository and branch are made where missing.

    Args:
        repo: ``user/name``.
        files: contents, or paths of them.
        private: of a repository that is made; one that is there must be private.
        revision: a branch; None: the main one.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        UserError: nobody is logged in, the login may not write there, the Hub refuses it or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    check_name(repo)
    if get_token() is None:
        raise UserError(f"nobody is logged in to the Hugging Face Hub: {LOGIN}")
    with _explained(f"{repo} is not written:", reading=False), _bars():
        api = HfApi(library_name="distill")
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo, timeout=TIMEOUT_S).private:
            raise UserError(f"{repo} is not written: it is there already and public, and private=true")
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        return str(api.create_commit(repo, operations, commit_message=message, revision=revision).commit_url)


@contextmanager
def _bars() -> Iterator[None]:
    """Progress bars of the Hub's client on a terminal only."""
    from huggingface_hub import utils

    client: Any = utils
    hide = not sys.stderr.isatty() and not client.are_progress_bars_disabled()
    if hide:
        client.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            client.enable_progress_bars()


@contextmanager
def _explained(start: str, reading: bool) -> Iterator[None]:
    """What the Hub and its client raise as a UserError of one line that begins with ``start``."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever its HTTP client raises
        cause: Any = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, OSError) and cause.errno in STORAGE:
            raise
        if isinstance(cause, OfflineModeIsEnabled):
            why = "HF_HUB_OFFLINE=1 keeps this process from the Hub"
        elif isinstance(cause, HfHubHTTPError):
            why = _answer(cause, reading)
        elif isinstance(cause, ValueError):  # metadata of the card, a malformed answer
            why = f"the Hub does not take it ({_told(cause)})"
        elif isinstance(cause, OSError) or type(cause).__module__.startswith(("httpx", "httpcore", "requests")):
            why = f"{constants.ENDPOINT} cannot be reached ({_told(cause)})"
        else:
            why = f"the answer of {constants.ENDPOINT} is not understood ({_told(cause)})"
        raise UserError(f"{start} {why}") from error


def _answer(error: Any, reading: bool) -> str:
    """An error that the Hub answered with."""
    from huggingface_hub.errors import GatedRepoError, RevisionNotFoundError

    status = getattr(error.response, "status_code", None)
    if isinstance(error, RevisionNotFoundError):
        return f"the repository has no such revision ({status})"
    if isinstance(error, GatedRepoError):
        return f"the repository is gated ({status}): ask for access on its page"
    if status == 401:
        what = "has no such repository, or none that you may see" if reading else "does not know the login"
        return f"the Hub {what} (401): {LOGIN}"
    if status == 403:
        right = "read" if reading else "write"
        return f"the Hub forbids it (403): the token that you are logged in with has no right to {right} there"
    if status == 404:
        return "the Hub has no such repository (404)"
    return f"the Hub refuses it ({_told(error)})"


def _told(error: BaseException) -> str:
    """An error in one line, without the token if it has it."""
    from huggingface_hub import get_token

    text = reason(error)
    with suppress(Exception):
        text = text.replace(get_token() or "\0", "***")
    return text
