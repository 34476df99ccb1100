"""The other processes of a data-parallel run: they do what the leader does, but report nothing.

    python -m unlearn.worker JOB RANK SIZE

JOB is a JSON file that the leader has written; the processes meet at the file `meeting` beside it.
"""

import sys
from pathlib import Path

from models.cli.terminal import printable
from unlearn.errors import UnlearnError
from unlearn.job import read_job
from unlearn.processes import joined
from unlearn.train import fit


def follow(file: Path, rank: int, size: int) -> None:
    """Take part in a run until it ends.

    Raises:
        UnlearnError: As `unlearn.train.fit`.
    """
    job = read_job(file.read_text())
    with joined(file, rank, size) as group:
        fit(
            job.config,
            job.checkpoint,
            job.corpora,
            lambda _: None,
            base=job.base,
            group=group,
            cache=job.cache,
            state=job.state,
        )


if __name__ == "__main__":
    try:
        follow(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except UnlearnError as error:
        sys.stderr.write(f"error: process {sys.argv[2]}: {printable(error)}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # Ctrl-C reaches every process of the terminal.
        sys.exit(130)
