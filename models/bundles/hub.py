"""Bundles on the Hugging Face Hub (extra `hub`): pushed as they lie there, pulled with every hash checked.

`HF_HUB_OFFLINE`, `HF_TOKEN`, `HF_HOME` and `HF_ENDPOINT` mean what they mean everywhere.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisles.data_prep.io.errors import DataError
from aisles.data_prep.io.whole_folder import whole_folder

from .bundle import CARD, DESCRIPTION, LEARNED_FROM, TREE, check_place, read_bundle
from .editing import rewrite

FILES = (DESCRIPTION, "*.keras", CARD, TREE, LEARNED_FROM)
"""What a bundle consists of; nothing else is pushed or pulled."""


@dataclass(frozen=True)
class PushResult:
    """What `push_bundle` did.

    Attributes
    ----------
    repo : str
    url : str
        Where it can be looked at.
    commit : str
    files : tuple of str
    """

    repo: str
    url: str
    commit: str
    files: tuple[str, ...]


def push_bundle(
    bundle: str | Path,
    repo: str,
    *,
    private: bool = False,
    message: str | None = None,
    endpoint: str | None = None,
) -> PushResult:
    """Put a bundle on the Hub, in a model repository that is made if there is none.

    Its card is written anew, with the front matter that the Hub reads: library, task, measured accuracy.

    Parameters
    ----------
    bundle : path
        Its hashes are checked first.
    repo : str
        NAME or OWNER/NAME.
    private : bool
        Of a repository that is made now.
    message : str, optional
        The commit's.
    endpoint : str, optional
        Another server with the Hub's interface.

    Returns
    -------
    PushResult

    Raises
    ------
    ImportError
        If the extra `hub` is not installed.
    DataError
        If the bundle is not whole, or the Hub refuses or can't be reached.
    """
    hub = _hub()
    read_bundle(bundle)
    if hub.constants.is_offline_mode():
        raise DataError("HF_HUB_OFFLINE is set, so nothing can be pushed. Unset it.")
    with tempfile.TemporaryDirectory(prefix="aisles-push-") as place, _explained(hub, repo), _bars(hub):
        sealed, _ = rewrite(bundle, Path(place) / "bundle", lambda content, part: None)
        api = hub.HfApi(endpoint=endpoint, library_name="aisles")
        made = api.create_repo(repo, private=private, exist_ok=True, repo_type="model")
        commit = api.upload_folder(
            repo_id=made.repo_id, folder_path=sealed, allow_patterns=list(FILES), delete_patterns=["*.keras"],
            commit_message=message or "A bundle of aisles", repo_type="model",
        )  # fmt: skip
        names = tuple(sorted(path.name for path in sealed.iterdir()))
        return PushResult(str(made.repo_id), str(made), str(commit.oid), names)


def pull_bundle(
    repo: str, output: str | Path | None = None, *, revision: str | None = None, endpoint: str | None = None
) -> Path:
    """Fetch a bundle from the Hub, or from the local cache if nothing has changed or there is no network.

    Parameters
    ----------
    repo : str
        OWNER/NAME.
    output : path, optional
        The bundle's folder; NAME in the working directory unless given. A bundle that is there is replaced.
    revision : str, optional
        Branch, tag or commit.
    endpoint : str, optional
        Another server with the Hub's interface.

    Returns
    -------
    Path
        `output`. It appears only once every hash was found right; nothing of what was fetched is run.

    Raises
    ------
    ImportError
        If the extra `hub` is not installed.
    DataError
        If the Hub has no such repository, it holds no bundle, or a hash differs.
    FileExistsError
        If `output` exists, is not empty and is not a bundle.
    """
    hub = _hub()
    output = Path(repo.rpartition("/")[2]) if output is None else Path(output)
    check_place(output)
    with _explained(hub, repo), _bars(hub):
        fetched = hub.snapshot_download(
            repo, revision=revision, allow_patterns=list(FILES), library_name="aisles", endpoint=endpoint
        )
    with whole_folder(output) as part:
        for path in Path(fetched).iterdir():
            if path.is_file() and any(path.match(pattern) for pattern in FILES):
                shutil.copyfile(path, part / path.name)
        if not (part / DESCRIPTION).is_file():
            raise DataError(
                f"{repo} holds no bundle of aisles: it has no {DESCRIPTION}. Give another repository."
            )
        content = read_bundle(part)
        for path in part.iterdir():
            if path.name not in content["files"] and path.name != DESCRIPTION:
                path.unlink()  # of an earlier version
    return output


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise ImportError(
            f"The Hub needs the extra hub ({error}). Install it: python -m pip install '.[hub]'."
        ) from error
    return huggingface_hub


@contextmanager
def _bars(hub: Any) -> Iterator[None]:
    """Let the Hub's progress bars be drawn on a terminal only: in a log they are a mess."""
    if sys.stderr.isatty() or hub.utils.are_progress_bars_disabled():
        yield
        return
    hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        hub.utils.enable_progress_bars()


@contextmanager
def _explained(hub: Any, repo: str) -> Iterator[None]:
    """Turn the Hub's errors into ours, with the next step."""
    errors = hub.errors
    try:
        yield
    except errors.GatedRepoError as error:
        raise DataError(
            f"{repo} asks for consent first: give it on its page, and log in: hf auth login."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(
            f"The Hub has no repository {repo} that you may see. Check the name; for a private one log in: "
            "hf auth login."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DataError(f"{repo} has no such revision. Give a branch, a tag or a commit.") from error
    except errors.HFValidationError as error:
        raise DataError(f"{repo!r} is no name of a repository (OWNER/NAME). {error}") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise DataError(
            f"{repo} is not in the local cache, and the Hub can't be reached (or HF_HUB_OFFLINE is set): {error}"
        ) from error
    except errors.HfHubHTTPError as error:
        raise DataError(f"The Hub refuses: {error}. To push you must be logged in: hf auth login.") from error
    except errors.LocalTokenNotFoundError as error:
        raise DataError("To push you must be logged in: hf auth login.") from error
    except OSError:
        raise
    except Exception as error:  # of whichever HTTP client the Hub's library has
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "huggingface_hub")):
            raise
        raise DataError(f"The Hub can't be reached: {error}. Check the network.") from error
