"""What can go wrong in the offline job.

    UnlearnError
    ├── RecipeError          a recipe has an unknown key, a wrong type or an impossible value
    ├── DownloadError        the base model's package or a data set could not be fetched
    ├── CorruptFileError     a downloaded file's digest is not the pinned one
    ├── CorpusError          a corpus is missing, empty or has a row of another shape
    ├── GatedCorpusError     the hub grants no access to a gated data set
    ├── WriterError          the endpoint that writes a corpus refuses or fails
    ├── TensorNotFoundError  a recipe names a tensor that the checkpoint does not have
    ├── UnwritableTensorError  a trained tensor does not fit where the base keeps it
    ├── DivergedError        the loss is not a finite number
    ├── StrayUpdateError     a tensor changed that the recipe does not name
    ├── DiskFullError        no room for what was to be written
    ├── SuiteError           an evaluation suite is unknown or its data are not as expected
    ├── UnsupportedModelError  an architecture is not laid out as embeddings and decoder layers
    ├── TokenizerMismatchError a tokenizer is missing or is not the base's
    ├── ProcessLostError     another process of a data-parallel run has ended
    └── EndpointError        an engine or a judge does not answer as it must

Each leaf ends the command with its own exit status.
"""

from collections.abc import Iterable
from pathlib import Path

SHOWN_NAMES = 24  # A dense layer has about a dozen tensors, a mixture of experts hundreds.


class UnlearnError(Exception):
    """Root of the tree; `exit_code` is the command's exit status."""

    exit_code = 2


class RecipeError(UnlearnError):
    """A recipe cannot be used as it is."""

    exit_code = 10

    def __init__(self, recipe: str, problem: str) -> None:
        super().__init__(f"recipe {recipe}: {problem}")


class DownloadError(UnlearnError):
    """The base model's package or a data set could not be fetched."""

    exit_code = 11

    def __init__(self, package: str, problem: str) -> None:
        super().__init__(
            f"could not fetch {package}: {problem}; check the network and run it again"
        )


class CorruptFileError(UnlearnError):
    """A file's bytes are not the pinned ones; it has been removed."""

    exit_code = 12

    def __init__(self, path: Path, expected: str, actual: str) -> None:
        super().__init__(
            f"{path.name} is corrupt: its SHA-256 is {actual}, expected {expected}; "
            "it has been removed, run it again to fetch it anew"
        )


class CorpusError(UnlearnError):
    """A corpus cannot be read."""

    exit_code = 13

    def __init__(self, spec: str, problem: str) -> None:
        super().__init__(f"corpus {spec}: {problem}")


class GatedCorpusError(UnlearnError):
    """The hub grants no access to a gated data set."""

    exit_code = 30

    def __init__(self, page: str, *, has_token: bool) -> None:
        reason = "the token's account has no access" if has_token else "there is no token"
        super().__init__(
            f"{page} is gated and {reason}: ask for access on that page, then set HF_TOKEN or give "
            "--hub-token-file; such a corpus may not be passed on to others"
        )


class WriterError(UnlearnError):
    """The endpoint that writes a corpus refuses or fails; finished topics are kept."""

    exit_code = 31

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(
            f"the endpoint {address} {problem}; finished topics are kept, run it again"
        )


class TensorNotFoundError(UnlearnError):
    """A recipe names a tensor that the checkpoint does not have."""

    exit_code = 14

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        shown = ", ".join(names[:SHOWN_NAMES])
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        super().__init__(f"the checkpoint has no tensor {name}; there are: {shown}{more}")


class UnwritableTensorError(UnlearnError):
    """A trained tensor does not fit where the base keeps it; nothing has been stored."""

    exit_code = 34

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} cannot be written: {problem}; nothing was stored")


class DivergedError(UnlearnError):
    """The loss is not a finite number; nothing has been stored."""

    exit_code = 15

    def __init__(self, step: int) -> None:
        super().__init__(
            f"the loss is not finite at step {step}: lower learning_rate or coefficient; "
            "nothing was stored"
        )


class StrayUpdateError(UnlearnError):
    """A tensor changed that the recipe does not name; nothing has been stored."""

    exit_code = 16

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(f"tensors changed that the recipe does not name: {sorted(names)[:6]}")


class DiskFullError(UnlearnError):
    """No room for what was to be written; the half-written part has been removed."""

    exit_code = 17

    def __init__(self, path: Path) -> None:
        super().__init__(f"no room left on the disk of {path}; free some and run it again")


class SuiteError(UnlearnError):
    """An evaluation suite cannot be run."""

    exit_code = 18

    def __init__(self, suite: str, problem: str) -> None:
        super().__init__(f"suite {suite}: {problem}")


class UnsupportedModelError(UnlearnError):
    """An architecture is not laid out as embeddings and decoder layers."""

    exit_code = 40

    def __init__(self, model_type: str, problem: str = "no list of layers") -> None:
        super().__init__(f"models of type {model_type} cannot be unlearned: {problem}")


class TokenizerMismatchError(UnlearnError):
    """A tokenizer is missing or is not the base's."""

    exit_code = 41

    def __init__(self, problem: str) -> None:
        super().__init__(f"the base's tokenizer does not fit its weights: {problem}")


class ProcessLostError(UnlearnError):
    """Another process of a data-parallel run has ended; nothing has been stored."""

    exit_code = 42

    def __init__(self) -> None:
        super().__init__(
            "another process of this run has ended, see above; nothing was stored, run it again "
            "to go on from the last saved step"
        )


class EndpointError(UnlearnError):
    """An engine or a judge does not answer as it must; what it answered so far is kept."""

    exit_code = 19

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{url} does not answer as it must: {problem}; run it again to go on")
