"""What can go wrong in the registry.

RegistryError
├── CheckpointNotFoundError    no checkpoint, report or release of that name
├── CheckpointCorruptError     bytes in the store are not those that its manifest lists
├── CheckpointRefusedError     files that may not enter the store (pickles, code, links)
├── DocumentError              a manifest, report, release or policy file cannot be read
├── StoreFullError             no room left; nothing half-written stays visible
├── StoreReadOnlyError         the store may not be written from here
├── PromotionRefusedError      an alias may not point to that checkpoint
├── SignatureError             a document is not signed as it must be
├── KeyUnusableError           a private key cannot be read or written
├── ReleaseInvalidError        an alias's newest release does not count (any more)
└── EngineError                an engine cannot be started as asked
"""

from pathlib import Path


class RegistryError(Exception):
    """Root of the tree; `exit_code` is the command's exit status."""

    exit_code = 2


class CheckpointNotFoundError(RegistryError):
    """Nothing in the store has that name."""

    exit_code = 20

    def __init__(self, name: str) -> None:
        super().__init__(
            f"nothing in the store is called {name}; give a digest, or at least six digits that "
            "only one begins with: see `airlock checkpoints list`"
        )
        self.name = name


class CheckpointCorruptError(RegistryError):
    """Bytes in the store are not those that the manifest lists."""

    exit_code = 21

    def __init__(self, checkpoint: str, file: str, problem: str) -> None:
        super().__init__(
            f"checkpoint {checkpoint}: {file} {problem}; it will not be served or promoted"
        )


class CheckpointRefusedError(RegistryError):
    """Files that may not enter the store."""

    exit_code = 22

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file} may not enter the store: {problem}")


class DocumentError(RegistryError):
    """A manifest, report, release or policy cannot be read."""

    exit_code = 23

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


class StoreFullError(RegistryError):
    """No room is left for a checkpoint; the part that was written has been removed."""

    exit_code = 24

    def __init__(self, path: Path) -> None:
        super().__init__(f"no room left on the disk of {path}; free some and run it again")


class StoreReadOnlyError(RegistryError):
    """The store may not be written from here."""

    exit_code = 27

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} cannot be written from here; run it where the store is writable, as its owner"
        )


class PromotionRefusedError(RegistryError):
    """An alias may not point to that checkpoint."""

    exit_code = 25

    def __init__(self, reason: str) -> None:
        super().__init__(f"promotion refused: {reason}")
        self.reason = reason


class EngineError(RegistryError):
    """An engine cannot be started as asked."""

    exit_code = 26


class SignatureError(RegistryError):
    """A document is not signed as it must be; it counts for nothing."""

    exit_code = 28

    def __init__(self, reason: str) -> None:
        super().__init__(f"the signature does not count: {reason}")


class KeyUnusableError(RegistryError):
    """A private key cannot be read or written."""

    exit_code = 29

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"key {path}: {problem}")


class ReleaseInvalidError(RegistryError):
    """An alias's newest release does not count; no older one takes its place."""

    exit_code = 30

    def __init__(self, alias: str, reason: str) -> None:
        super().__init__(f"the newest release of {alias} does not count: {reason}")
        self.alias = alias
        self.reason = reason
