"""A backup: a directory with a copy of the database and what the registry's documents say.

    backup/manifest.json          written last, with the digest of everything else
    backup/database.sqlite        or database.pgdump, in PostgreSQL's own custom format
    backup/registry/…             the store without weights: manifests, reports, releases
    backup/trust/keys.json        whose signatures count
    backup/files/…                what callers uploaded, as it is sealed; where it was asked for

Not in it: the gateway's secret, without which files, engines' keys and API keys are worth nothing,
so that it must be kept elsewhere; weights, which are known by their digest; the witness's state,
which is worth something because somebody else has it.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

import orjson
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.checkpoint import Checkpoint, Note, SignerKey, parse_note
from gateway.audit.export import leaves
from gateway.audit.log import list_checkpoints, sign_head
from gateway.audit.verify import Finding, Verified, verify_export
from gateway.controlplane.changes import Tag, record_event
from gateway.controlplane.restored import FOLDER as EPOCH
from gateway.errors import ConfigurationError
from gateway.tables import AuditEntry, AuthorizationVersion
from models.documents import (
    Document,
    HexSha256,
    Instant,
    canonical_json,
    file_sha256,
    read_document,
    write_bytes,
)

MANIFEST = "manifest.json"
WEIGHTS = "checkpoints"
PASSING = (".new-", "staging", "runs")
"""What is under way or can be made again."""


class Manifest(Document):
    """What a backup holds, and of which moment."""

    schema_version: Literal[1] = 1
    made_at: Instant
    airlock: str
    """The version of the code."""
    schema_revision: str
    database: str
    """The name of the copy's file, which says of which kind it is."""
    version: int
    """The authorization version: the copy's is no higher."""
    audit_key: str
    """The public key of the audit log, from which the gateway's secret is known again."""
    audit_note: str
    """A signed checkpoint of the audit log; the copy holds at least so much."""
    files: dict[str, HexSha256]
    """Every other file by its path."""


class Moment(NamedTuple):
    """Where the database stands."""

    version: int
    note: Note


async def moment_of(session: AsyncSession, signer: SignerKey, now: datetime) -> Moment:
    """Return where the database stands, and keep the checkpoint of its log.

    Raises:
        NotReadyError: The log has no head.
    """
    return Moment(await version_of(session), await sign_head(session, signer, now))


async def version_of(session: AsyncSession) -> int:
    """Return the authorization version."""
    return await session.scalar(select(AuthorizationVersion.version)) or 0


def parts(home: Path, files: Path | None, trust: Path) -> Iterator[tuple[Path, str]]:
    """Yield what is copied beside the database, and under which name.

    Args:
        home: The gateway's.
        files: The folder of uploaded files, if it is wanted.
        trust: The trust store.
    """
    if trust.is_file():
        yield trust, "trust/keys.json"
    store = home / "store"
    for path in sorted(store.rglob("*")):
        inside = path.relative_to(store)
        is_weights = inside.parts[0] == WEIGHTS and inside.name != MANIFEST
        if path.is_file() and not is_weights and not inside.parts[0].startswith(PASSING):
            yield path, f"registry/{inside}"
    for path in sorted(files.rglob("*")) if files else ():
        inside = path.relative_to(files or path)
        if path.is_file() and path.suffix != ".part" and inside.parts[0] != EPOCH:
            yield path, f"files/{inside}"


def copy_parts(found: Iterator[tuple[Path, str]], to: Path) -> None:
    """Copy what stands beside the database; what goes away meanwhile was not wanted any more."""
    for path, name in found:
        target = to / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, target)
        except FileNotFoundError:
            continue
        target.chmod(0o600)


def write_manifest(
    to: Path, now: datetime, revision: str, database: str, moment: Moment, signer: SignerKey
) -> Manifest:
    """Write the manifest of what was copied to `to`: from then on it is a backup."""
    copied = sorted(path for path in to.rglob("*") if path.is_file())
    manifest = Manifest(
        made_at=now,
        airlock=version("airlock"),
        schema_revision=revision,
        database=database,
        version=moment.version,
        audit_key=str(signer.verifier),
        audit_note=moment.note.text,
        files={str(path.relative_to(to)): file_sha256(path) for path in copied},
    )
    write_bytes(to / MANIFEST, canonical_json(manifest.model_dump(mode="json")), mode=0o400)
    return manifest


async def record_backup(
    session: AsyncSession, tag: Tag, made_at: datetime, *, actor: str, now: datetime
) -> None:
    """Enter in the audit log that a backup was made or verified; its subject is its moment."""
    moment = made_at.astimezone(UTC).isoformat(timespec="seconds")
    await record_event(session, tag, moment, actor=actor, now=now)


async def newest_backups(session: AsyncSession) -> dict[str, datetime]:
    """Return of which moment the newest backup is that was made, and that was verified."""
    # Not the newest entry: of two backups the older may have been verified last.
    rows = await session.execute(
        select(AuditEntry.tag, func.max(AuditEntry.subject))
        .where(AuditEntry.tag.in_((str(Tag.BACKUP_MADE), str(Tag.BACKUP_VERIFIED))))
        .group_by(AuditEntry.tag)
    )
    return {tag.rpartition(":")[2]: datetime.fromisoformat(moment) for tag, moment in rows}


def read_backup(source: Path, signer: SignerKey) -> Manifest:
    """Return a backup's manifest, after every file was compared with it.

    Raises:
        DocumentError: There is none: it was not finished.
        ConfigurationError: A file is missing or another one, or it was made under another secret.
    """
    manifest = read_document(source / MANIFEST, Manifest)
    if manifest.audit_key != str(signer.verifier):
        raise ConfigurationError(
            "the backup was made under another secret or AIRLOCK_AUDIT_ORIGIN: with this one no "
            "API key, file or engine's key in it could be used"
        )
    for name, digest in manifest.files.items():
        path = source / name
        if not path.resolve().is_relative_to(source.resolve()):
            raise ConfigurationError(f"{name} is not inside the backup")
        if not path.is_file() or file_sha256(path) != digest:
            raise ConfigurationError(f"{path} is not what was backed up")
    return manifest


def put_back_parts(source: Path, manifest: Manifest, home: Path, files: Path, trust: Path) -> int:
    """Put back what is missing beside the database; return how many files that were.

    What is there stays: it may know of a revocation that the backup does not.
    """
    count = 0
    for name in manifest.files:
        kind, _, rest = name.partition("/")
        if not rest:
            continue
        target = {"trust": trust, "registry": home / "store" / rest, "files": files / rest}[kind]
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
        target.chmod(0o444 if kind == "registry" else 0o600)
        count += 1
    return count


async def verify_log(
    session: AsyncSession,
    signer: SignerKey,
    head: Checkpoint,
    kept: list[Note],
    newer: list[bytes] | None = None,
) -> Verified:
    """Say whether the audit log in a database is whole, and what others kept of it.

    Args:
        session: A transaction on the database.
        signer: The log's key.
        head: The state that the database says it has, or had.
        kept: Checkpoints that it must agree with, up to a longer log's.
        newer: The lines of an export that it must be the beginning of.
    """
    note = Note(head, (signer.sign(head),))
    lines = [raw async for raw in leaves(session, head.size)]
    lines.append(orjson.dumps({"checkpoint": note.text}))
    notes = [parse_note(text) for text in await list_checkpoints(session, head.size)]
    here = verify_export(lines, signer.verifier, [*notes, *(kept if newer is None else ())])
    if newer is None or here.finding is not Finding.INTACT:
        return here
    return verify_export(newer, signer.verifier, [*kept, note])
