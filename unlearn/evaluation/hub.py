"""Items of the hub's data sets: a commit, one split's files, the rows.

What a pinned commit needs is read from the cache without asking the hub, once it is there.
"""

import fnmatch
import re
from pathlib import Path
from typing import NamedTuple

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from unlearn.errors import DownloadError, SuiteError
from unlearn.evaluation.items import Item, read_items

FULL_COMMIT = re.compile(r"[0-9a-f]{40}")
OF_N = re.compile(r"-of-(\d+)\.parquet$")


class HubItems(NamedTuple):
    """One split's items, and the commit that they are from."""

    items: tuple[Item, ...]
    commit: str


def read_hub_items(repo: str, config: str, split: str, revision: str, cache: Path) -> HubItems:
    """Return the items of one split, fetching what the cache lacks.

    Args:
        repo: `OWNER/NAME`.
        config: The folder of the configuration; `default` when there is only one, in `data`.
        split: For example `test`.
        revision: A commit; a branch is resolved to one.
        cache: Where fetched files are kept.

    Raises:
        SuiteError: There is no such data set or split, or access to it has not been granted.
        DownloadError: The hub cannot be reached and the cache has no copy.
    """
    folder = "data" if config == "default" else config
    wanted = f"{folder}/{split}-*.parquet"
    paths = _cached(repo, wanted, revision, cache)
    commit = revision
    if not paths:
        commit, paths = _fetch(repo, wanted, revision, cache)
    items = tuple(item for path in paths for item in read_items(path))
    return HubItems(items, commit)


def _cached(repo: str, wanted: str, revision: str, cache: Path) -> list[Path]:
    """Return the files of a whole commit's split, when all of them are in the cache."""
    if not FULL_COMMIT.fullmatch(revision):
        return []
    snapshot = cache / f"datasets--{repo.replace('/', '--')}" / "snapshots" / revision
    paths = sorted(snapshot.glob(wanted))
    count = OF_N.search(paths[0].name) if paths else None
    return paths if count and int(count[1]) == len(paths) else []


def _fetch(repo: str, wanted: str, revision: str, cache: Path) -> tuple[str, list[Path]]:
    try:
        info = HfApi().dataset_info(repo, revision=revision)
        names = sorted(entry.rfilename for entry in info.siblings or ())
        chosen = fnmatch.filter(names, wanted)
        if info.sha is None or not chosen:
            raise SuiteError(repo, f"has no files {wanted} at revision {revision}")
        paths = [
            Path(
                hf_hub_download(repo, name, repo_type="dataset", revision=info.sha, cache_dir=cache)
            )
            for name in chosen
        ]
    except GatedRepoError as error:
        page = f"{constants.ENDPOINT}/datasets/{repo}"
        problem = f"is gated: ask for access on {page}, then set HF_TOKEN and run it again"
        raise SuiteError(repo, problem) from error
    except RepositoryNotFoundError as error:
        raise SuiteError(repo, "the hub has no such data set, or it is a private one") from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        # A time-out says nothing of itself.
        said = str(error).strip() or type(error).__name__
        raise DownloadError(repo, said.splitlines()[0]) from error
    return info.sha, paths
