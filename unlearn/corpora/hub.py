"""Data sets of the hub: resolved to a commit, fetched into a cache, checked, read.

    resolve (commit, files and their digests) → choose one split's files → fetch → check → record

The record is written last. It names the commit and the files' digests as the hub announced them,
so that what is in the cache can be used, and is checked again, without a network.
"""

import errno
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
from huggingface_hub import DatasetInfo, HfApi, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from models.documents import Document, file_sha256, read_document, write_bytes
from models.errors import DocumentError, StoreFullError
from unlearn.corpora.files import read_texts
from unlearn.corpora.layout import HubSpec, choose_files, parse_hub_spec
from unlearn.errors import (
    CorpusError,
    CorruptFileError,
    DiskFullError,
    DownloadError,
    GatedCorpusError,
)

FULL_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubFile(Document):
    """A file and what the hub says of its bytes."""

    path: str
    sha256: str | None
    """Of a file in large-file storage."""
    git_sha1: str | None
    """Of any other: git's digest of its content."""


class Resolved(Document):
    """What a spec meant when it was last fetched whole."""

    repo: str
    commit: str
    licence: str | None
    files: tuple[HubFile, ...]


class HubTexts(NamedTuple):
    """A data set's texts, where they were found."""

    texts: Iterator[str]
    revision: str
    licence: str | None


def read_hub(spec: str, *, cache: Path, token: str | None) -> HubTexts:
    """Return a data set's texts, fetching what the cache lacks.

    A spec that pins a whole commit never asks the hub again once it is in the cache. Any other
    asks which commit it means; where the hub cannot be reached, it means what it last did.

    Args:
        spec: `hub:…`.
        cache: Where the files and the record go.
        token: The hub's access token, or None.

    Raises:
        CorpusError: No such data set, revision, configuration or split.
        GatedCorpusError: Access has not been granted.
        DownloadError: The hub cannot be reached and the cache has no copy.
        CorruptFileError: A file is not what the hub announced; it has been removed.
        DiskFullError: No room for it.
    """
    wanted = parse_hub_spec(spec)
    # `token=False`: without a token of ours, none that the machine has stored is sent.
    hub = HfApi(token=token or False)
    record = _record_path(spec, cache)
    known = _read_record(spec, wanted, record)
    if known is None or not FULL_COMMIT.fullmatch(wanted.revision or ""):
        try:
            known = _resolve(spec, wanted, hub)
        except DownloadError:
            if known is None:
                raise
    paths = [_fetch(known, file, cache / "hub", hub) for file in known.files]
    try:
        write_bytes(record, known.model_dump_json().encode(), mode=0o644)
    except StoreFullError as error:
        raise DiskFullError(record.parent) from error
    texts = (text for path in paths for text in read_texts(spec, path))
    return HubTexts(texts, known.commit, known.licence)


def cached_texts(spec: str, *, cache: Path) -> Iterator[str] | None:
    """Return a data set's texts as the cache has them, asking nobody; None when it has not.

    Raises:
        CorpusError: The spec is wrong, or a file is of another shape.
    """
    known = _read_record(spec, parse_hub_spec(spec), _record_path(spec, cache))
    if known is None:
        return None
    paths = [
        try_to_load_from_cache(
            known.repo,
            file.path,
            cache_dir=cache / "hub",
            revision=known.commit,
            repo_type="dataset",
        )
        for file in known.files
    ]
    there = [Path(path) for path in paths if isinstance(path, str)]
    if len(there) < len(paths):
        return None
    return (text for path in there for text in read_texts(spec, path))


def _record_path(spec: str, cache: Path) -> Path:
    return cache / "corpora" / f"{hashlib.sha256(spec.encode()).hexdigest()}.json"


def _read_record(spec: str, wanted: HubSpec, path: Path) -> Resolved | None:
    """Return what a spec last meant; None where it would mean other files by now."""
    try:
        known = read_document(path, Resolved)
        names = [file.path for file in known.files]
        return known if choose_files(spec, wanted, names) == set(names) else None
    except (DocumentError, CorpusError):
        return None  # Not there, or of another version of this code: it is made anew.


def _resolve(spec: str, wanted: HubSpec, hub: HfApi) -> Resolved:
    """Ask the hub for a data set's commit, licence and files.

    Raises:
        CorpusError: No such data set, revision, configuration or split.
        GatedCorpusError: Its very description is closed.
        DownloadError: The hub cannot be reached, or does not answer as a hub.
    """
    try:
        info = hub.dataset_info(wanted.repo, revision=wanted.revision, files_metadata=True)
    except GatedRepoError as error:
        raise _gated(wanted.repo, hub) from error
    except RevisionNotFoundError as error:
        raise CorpusError(spec, f"the hub has no revision {wanted.revision} of it") from error
    except RepositoryNotFoundError as error:
        raise CorpusError(spec, "the hub has no such data set, or it is a private one") from error
    except (httpx2.HTTPError, OfflineModeIsEnabled, ValueError) as error:
        raise DownloadError(wanted.repo, _problem(error)) from error
    if info.sha is None:
        raise DownloadError(wanted.repo, "the hub names no commit")
    files = _announced(info)
    chosen = choose_files(spec, wanted, [file.path for file in files])
    return Resolved(
        repo=wanted.repo,
        commit=info.sha,
        licence=_licence(info),
        files=tuple(file for file in files if file.path in chosen),
    )


def _announced(info: DatasetInfo) -> list[HubFile]:
    files = [
        HubFile(
            path=entry.rfilename,
            sha256=entry.lfs.sha256 if entry.lfs else None,
            git_sha1=None if entry.lfs else entry.blob_id,
        )
        for entry in info.siblings or ()
    ]
    return sorted(files, key=lambda file: file.path)


def _licence(info: DatasetInfo) -> str | None:
    stated = info.card_data.get("license") if info.card_data else None
    return ", ".join(stated) if isinstance(stated, list) else stated


def _fetch(known: Resolved, file: HubFile, cache: Path, hub: HfApi) -> Path:
    """Return a file of the cache that is what the hub announced; the client fetches what lacks.

    Raises:
        GatedCorpusError: Access has not been granted.
        DownloadError: It could not be fetched whole.
        CorruptFileError: It is not what the hub announced; it has been removed.
        DiskFullError: No room for it.
    """
    try:
        path = Path(
            hub.hf_hub_download(
                known.repo,
                file.path,
                repo_type="dataset",
                revision=known.commit,
                cache_dir=cache,
            )
        )
    except GatedRepoError as error:
        raise _gated(known.repo, hub) from error
    except (httpx2.HTTPError, LocalEntryNotFoundError) as error:
        raise DownloadError(known.repo, _problem(error)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(cache) from error
        if error.errno is not None:
            raise
        # The client's own check of the length has no error number.
        raise DownloadError(known.repo, "a file did not arrive whole") from error
    _check(path, file)
    return path


def _check(path: Path, file: HubFile) -> None:
    """Compare a file with what the hub announced; remove one that differs."""
    if file.sha256 is not None:
        expected, actual = file.sha256, file_sha256(path)
    else:
        content = path.read_bytes()
        header = b"blob %d\0" % len(content)
        expected = file.git_sha1 or "missing"
        actual = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
    if actual != expected:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise CorruptFileError(Path(file.path), expected, actual)


def _gated(repo: str, hub: HfApi) -> GatedCorpusError:
    return GatedCorpusError(f"{hub.endpoint}/datasets/{repo}", has_token=bool(hub.token))


def _problem(error: Exception) -> str:
    """Say what went wrong, without the address and the request's number that the client adds."""
    cause = error
    while isinstance(cause, LocalEntryNotFoundError) and isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    if isinstance(cause, HfHubHTTPError):
        if cause.response.status_code == 401:
            return "the hub does not accept the token"
        return f"the hub answers {cause.response.status_code}"
    if isinstance(cause, (OfflineModeIsEnabled, LocalEntryNotFoundError)):
        return "the cache has no copy and look-ups are switched off"
    return str(cause).strip() or type(cause).__name__
