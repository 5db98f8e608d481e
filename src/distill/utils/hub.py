"""Files of the Hugging Face Hub: a folder, or a name that is looked for in the cache first, then on the Hub.

Whatever is read is data: JSON, safetensors and tokenizers. No code of a repository is run.
"""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from distill.utils.errors import UserError, nearest_files, one_line, require_package, shortened
from distill.utils.files import printable

T = TypeVar("T")
_PATH = re.compile(r"[./~]|.*[\\\s]|.*/.*/|.*/$")  # a hub name is owner/model or model
_TIMEOUT_S = 5.0
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
_MESSAGE_LENGTH = 300


def require_transformers(feature: str) -> None:
    """A UserError unless transformers is installed."""
    require_package("transformers", feature, "transformers", "text")


def reason(error: BaseException) -> str:
    """An error of transformers in one line."""
    return shortened(one_line(error), _MESSAGE_LENGTH)


def locate(name: object, key: str, file: str | None = "config.json") -> str:
    """The folder, the GGUF file, or the name on the hub, of a model or tokenizer.

    Args:
        name: what the user gave.
        key: how error messages call it ("model=hf: name").
        file: that a folder must hold, if it is not a GGUF file's; None: a tokenizer's.

    Raises:
        UserError: no name, a folder that does not exist, or one without that file.
    """
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{key} must be a folder, or a name on the Hugging Face Hub, got {name!r}")
    path = Path(name).expanduser()
    if path.is_dir():
        wanted = _TOKENIZER if file is None else (file,)
        if not any((path / each).is_file() for each in wanted) and len(ggufs := sorted(path.glob("*.gguf"))) == 1:
            return str(ggufs[0])
        if file is not None and not (path / file).is_file():
            inner = sorted(str(p.parent) for p in path.glob(f"*/{file}") if not p.parent.name.endswith("_Pooling"))
            raise UserError(f"{key}: folder {name} has no {file}{f'; there is one in {inner[0]}' if inner else ''}")
        return str(path)
    if path.suffix == ".gguf" and path.is_file():
        return str(path)
    if path.exists():
        raise UserError(f"{key}: {name} is a file: name its folder")
    if _PATH.match(name):
        raise UserError(f"{key}: there is no folder {name}{nearest_files(path)}")
    return name


def gguf_file(name: str) -> tuple[str, str | None]:
    """The folder and the name of a GGUF file, as ``from_pretrained`` of transformers takes it; else the name, None.

    Raises:
        UserError: the package gguf, which reads it, is missing.

    Example:
        >>> gguf_file("./smollm2")
        ('./smollm2', None)
    """
    if not name.endswith(".gguf"):
        return name, None
    require_package("gguf", name, "gguf", "gguf", load=False)
    path = Path(name)
    return str(path.parent), path.name


def locate_tokenizer(name: object, key: str) -> str:
    """The folder, absolute, or the name on the hub, of a tokenizer.

    Raises:
        UserError: see :func:`locate`; a folder without a tokenizer's files.
    """
    located = locate(name, key, file=None)
    folder = Path(located)
    if not folder.is_dir():
        return str(folder.absolute()) if located.endswith(".gguf") else located
    if not any((folder / file).is_file() for file in _TOKENIZER):
        raise UserError(f"{key}: folder {printable(located)} holds no tokenizer, none of {', '.join(_TOKENIZER)}")
    return str(folder.absolute())  # a run is opened again from elsewhere


@contextmanager
def quiet(progress: bool = False) -> Iterator[None]:
    """No reports and progress bars of transformers inside, and no conversion of pickled weights asked for."""
    from transformers.utils import logging as theirs

    verbosity, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    conversion = os.environ.get("DISABLE_SAFETENSORS_CONVERSION")
    theirs.set_verbosity_error()
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    if not progress:
        theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(verbosity)
        if bars:
            theirs.enable_progress_bar()
        if conversion is None:
            del os.environ["DISABLE_SAFETENSORS_CONVERSION"]


def fetch(name: str, load: Callable[[bool], T]) -> T:
    """What ``load`` returns, from a folder or the cache without the network, else from the hub.

    Args:
        name: as :func:`locate` returns it.
        load: is told whether to stay with local files.

    Raises:
        UserError: it is neither a folder nor in the cache, and the hub cannot be reached or does not have it.
    """
    if Path(name).exists():
        with quiet():
            return load(True)
    try:
        with quiet():
            return load(True)
    except OSError:  # not in the cache
        _check_hub(name)
    with quiet(progress=True):
        return load(False)


def _check_hub(name: str) -> None:
    """A UserError unless the hub answers and has the model: one request, where a download would retry for a while."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    missing = f"{name!r} is no folder here, and not (whole) in the Hugging Face cache"
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{missing}; HF_HUB_OFFLINE=1 keeps it from being downloaded")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=_TIMEOUT_S)
    except HFValidationError as error:
        raise UserError(f"{name!r} is no folder, and no name of the Hugging Face Hub: {reason(error)}") from error
    except HfHubHTTPError as error:
        raise UserError(f"{missing}, and the Hub does not give it ({reason(error)})") from error
    except Exception as error:  # whatever its HTTP client raises
        raise UserError(
            f"{missing}, and {constants.ENDPOINT} cannot be reached ({one_line(error)}): download it once with a "
            f"network (hf download {name}), or name a folder"
        ) from error


def unreachable_hub(dataset: str) -> str:
    """Why the hub cannot be asked for a data set; "" where it can, or where the data set is a local folder."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if Path(dataset).exists():
        return ""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE=1 keeps it from being downloaded"
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        get_hf_file_metadata(hf_hub_url(dataset, "README.md", repo_type="dataset"), timeout=_TIMEOUT_S)
    except (HfHubHTTPError, HFValidationError):
        return ""
    except Exception as error:  # whatever its HTTP client raises
        return f"{constants.ENDPOINT} cannot be reached ({one_line(error)})"
    return ""


def commit(name: str) -> str | None:
    """The commit of a model on the hub that the cache holds, and is read from there; None: it holds none."""
    from huggingface_hub import try_to_load_from_cache

    found: Any = try_to_load_from_cache(name, "config.json")
    return Path(found).parent.name if isinstance(found, str) else None


def read_json(name: str, file: str) -> Any:
    """A JSON file of a model; None: it has none, or none in the cache and there is no network.

    Raises:
        UserError: it is no JSON.
    """
    path = Path(name, file) if Path(name).exists() else _cached(name, file)
    if path is None:
        return None
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON: {one_line(error)}") from error


def _cached(name: str, file: str) -> Path | None:
    """A file of a model on the hub; None: it has none, or it is not in the cache and there is no network."""
    from huggingface_hub import try_to_load_from_cache
    from transformers.utils import cached_file

    found: Any = try_to_load_from_cache(name, file)
    if found is None:  # neither there nor known to be missing
        try:
            _check_hub(name)
            with quiet():
                found = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        except (OSError, UserError):
            return None
    return Path(found) if isinstance(found, str) else None


def read_tokenizer(name: object, key: str = "tokenizer", **options: Any) -> Any:
    """A tokenizer of transformers.

    Args:
        name: a folder, or a name on the hub.
        key: how error messages call it.
        options: of its ``from_pretrained``.

    Raises:
        UserError: it is found nowhere, cannot be read, or brings its own code.
    """
    require_transformers(key)
    located = locate(name, key, file=None)
    folder, file = gguf_file(located)
    options |= {"gguf_file": file} if file else {}
    from transformers import AutoTokenizer

    try:
        tokenizer = fetch(
            located,
            lambda local: AutoTokenizer.from_pretrained(
                folder, local_files_only=local, trust_remote_code=False, **options
            ),
        )
    except UserError:
        raise
    except Exception as error:  # whatever transformers and tokenizers raise
        raise UserError(f"{key}: the tokenizer of {name} cannot be read ({reason(error)})") from error
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # what transformers makes of no files
        raise UserError(f"{key}: {name} has no tokenizer (tokenizer.json, or the vocabulary that its kind needs)")
    return tokenizer
