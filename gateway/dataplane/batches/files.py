"""Files' rows: whose they are, how many there may be, and when they end."""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.dataplane.batches.upload import Upload
from gateway.errors import ConflictError, InvalidRequestError, NotFoundError
from gateway.settings import Settings
from gateway.tables import Batch, Person, StoredFile

OPEN = ("validating", "in_progress", "finalizing", "cancelling")
"""What a batch is while something of it is to be done."""
SHORTEST_SECONDS, LONGEST_SECONDS = 3600, 2_592_000


async def add_file(
    session: AsyncSession, upload: Upload, person_id: str, now: datetime, settings: Settings
) -> StoredFile:
    """Enter an uploaded file.

    Raises:
        InvalidRequestError: What the form says of it does not fit, or its owner has too many.
    """
    if upload.fields.get("purpose") != "batch":
        raise InvalidRequestError("'purpose' must be 'batch'.", "purpose")
    # Uploads of one person are entered one by one, so that their sum is right.
    await session.execute(select(Person.id).where(Person.id == person_id).with_for_update())
    await check_room(session, person_id, upload.size_bytes, settings)
    file = StoredFile(
        id=upload.file_id,
        person_id=person_id,
        purpose="batch",
        filename=upload.filename,
        size_bytes=upload.size_bytes,
        domains=[],
        created_at=now,
        expires_at=now + _kept_for(upload.fields, settings),
    )
    session.add(file)
    return file


async def check_room(
    session: AsyncSession, person_id: str, more_bytes: int, settings: Settings
) -> None:
    """Refuse a file more, when its owner has as many or as much as there may be.

    Raises:
        InvalidRequestError: So it is.
    """
    query = select(func.count(), func.coalesce(func.sum(StoredFile.size_bytes), 0))
    count, size = (await session.execute(query.where(StoredFile.person_id == person_id))).one()
    if count >= settings.files_per_person:
        raise InvalidRequestError(
            f"You have {count} files, as many as there may be; delete some.", "file"
        )
    if size + more_bytes > settings.file_bytes_per_person:
        raise InvalidRequestError(
            f"Your files may have {settings.file_bytes_per_person} bytes together; delete some.",
            "file",
        )


async def find_file(
    session: AsyncSession, file_id: str, person_id: str, now: datetime
) -> StoredFile:
    """Return a file.

    Raises:
        NotFoundError: There is none, or it is somebody else's: nobody is told which.
    """
    file = await session.get(StoredFile, file_id)
    if file is None or file.person_id != person_id or file.expires_at <= now:
        raise NotFoundError(f"No such File object: {file_id}")
    return file


async def delete_file(session: AsyncSession, file: StoredFile) -> None:
    """Delete a file's row; its content goes once that is done.

    Raises:
        ConflictError: A batch is at work on it.
    """
    query = select(Batch.id).where(Batch.input_file_id == file.id, Batch.status.in_(OPEN))
    user = await session.scalar(query.limit(1))
    if user is not None:
        raise ConflictError(f"The batch {user} is at work on the file; cancel it before.")
    await session.execute(delete(StoredFile).where(StoredFile.id == file.id))


async def delete_expired(session: AsyncSession, now: datetime) -> list[str]:
    """Delete the rows of files whose time is over, but for those that a batch needs still."""
    needed = select(Batch.input_file_id).where(Batch.status.in_(OPEN))
    query = delete(StoredFile).where(StoredFile.expires_at <= now, StoredFile.id.not_in(needed))
    return list(await session.scalars(query.returning(StoredFile.id)))


async def known(session: AsyncSession, names: list[str]) -> set[str]:
    """Return those of the names that are files' ids."""
    return set(await session.scalars(select(StoredFile.id).where(StoredFile.id.in_(names))))


def file_object(file: StoredFile) -> dict[str, object]:
    """Return a file as clients see it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": int(file.expires_at.timestamp()),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def _kept_for(fields: dict[str, str], settings: Settings) -> timedelta:
    anchor = fields.get("expires_after[anchor]")
    seconds = fields.get("expires_after[seconds]")
    longest = timedelta(days=settings.file_days)
    if anchor is None and seconds is None:
        return longest
    if anchor != "created_at":
        raise InvalidRequestError("The anchor is created_at.", "expires_after[anchor]")
    if (
        seconds is None
        or not (seconds.isascii() and seconds.isdecimal())
        or not SHORTEST_SECONDS <= int(seconds[:9]) <= LONGEST_SECONDS
    ):
        raise InvalidRequestError(
            f"It is from {SHORTEST_SECONDS} to {LONGEST_SECONDS}.", "expires_after[seconds]"
        )
    return min(longest, timedelta(seconds=int(seconds)))
