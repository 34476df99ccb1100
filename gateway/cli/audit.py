"""`airlock audit`: export the audit log, verify it and receipts offline, witness it."""

import argparse
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.audit.checkpoint import WITNESS, Note, SignerKey, VerifierKey, parse_note
from gateway.audit.export import (
    CSV_HEADER,
    csv_line,
    export_for_reading,
    export_lines,
    ocsf_line,
)
from gateway.audit.log_key import log_signer
from gateway.audit.verify import EXIT_CODES, verify_export
from gateway.cli.tables import in_transaction
from gateway.errors import AuditFileError
from gateway.identity.secret import load_secret
from gateway.settings import Settings
from models.cli.numbers import port
from models.cli.terminal import printable

EXAMPLES = """\
exit status of verify: 0 intact, 10 missing, 11 altered, 12 reordered, 13 forked, 14 truncated,
15 unsigned; 2 when the file or a key cannot be read. verify-receipt: 0 holds, 2 does not.

examples:
  airlock audit key > log.pub
  airlock audit export --to audit.jsonl
  airlock audit export --format ocsf --to audit-ocsf.jsonl
  airlock audit verify audit.jsonl --key log.pub
  airlock audit verify audit.jsonl --key log.pub --kept witness.state --witness witness.pub
  airlock audit verify-receipt receipt.json --key log.pub --trust keys.json
  airlock audit witness --key witness.pem --log-key log.pub --state witness.state --port 8300
"""
Write = Callable[[AsyncSession, SignerKey, datetime], AsyncIterator[bytes]]
FORMATS: dict[str, Write] = {
    "jsonl": export_lines,
    "csv": lambda session, signer, now: export_for_reading(session, signer, now, csv_line),
    "ocsf": lambda session, signer, now: export_for_reading(session, signer, now, ocsf_line),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("key", help="print the log's public key, for those who verify")
    export = actions.add_parser("export", help="write every entry to a file")
    export.add_argument("--format", choices=sorted(FORMATS), default="jsonl", help="(%(default)s)")
    export.add_argument("--to", type=Path, required=True, metavar="FILE")
    verify = actions.add_parser("verify", help="verify an export, without a network or database")
    verify.add_argument("file", type=Path)
    verify.add_argument("--key", required=True, help="the log's public key, or a file with it")
    verify.add_argument(
        "--kept", type=Path, action="append", default=[], help="a checkpoint kept elsewhere"
    )
    verify.add_argument("--witness", help="the public key that must have cosigned --kept")
    receipt = actions.add_parser("verify-receipt", help="verify a receipt in the same way")
    receipt.add_argument("file", type=Path)
    receipt.add_argument("--key", required=True, help="the log's public key, or a file with it")
    receipt.add_argument("--trust", type=Path, required=True, help="the trust store (keys.json)")
    receipt.add_argument("--witness", help="the public key that must have cosigned, too")
    witness = actions.add_parser("witness", help="cosign the log's checkpoints, and no forks")
    witness.add_argument("--key", type=Path, required=True, help="private key; made if missing")
    witness.add_argument("--log-key", required=True, help="the log's public key, or a file with it")
    witness.add_argument("--state", type=Path, required=True, help="the newest that was cosigned")
    witness.add_argument("--name", default="airlock/witness", help="(%(default)s)")
    witness.add_argument("--host", default="127.0.0.1", help="(%(default)s)")
    witness.add_argument("--port", type=port, default=8300, help="(%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "key": _key,
        "export": _export,
        "verify": _verify,
        "verify-receipt": _verify_receipt,
        "witness": _witness,
    }
    return actions[args.action](args)


def _key(args: argparse.Namespace) -> int:
    settings = Settings(home=args.home)
    print(log_signer(settings, load_secret(settings)).verifier)
    return 0


def _export(args: argparse.Namespace) -> int:
    settings, now = Settings(home=args.home), datetime.now(UTC)
    signer = log_signer(settings, load_secret(settings))

    async def work(session: AsyncSession) -> int:
        count = 0
        with args.to.open("wb") as out:
            if args.format == "csv":
                out.write(CSV_HEADER + b"\n")
            async for line in FORMATS[args.format](session, signer, now):
                out.write(line + b"\n")
                count += 1
        return count

    print(f"wrote {in_transaction(settings, work)} lines to {args.to}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    key = _read_key(args.key)
    witness = _read_key(args.witness) if args.witness else None
    kept: list[Note] = [parse_note(_read(path).decode()) for path in args.kept]
    found = verify_export(_read(args.file).splitlines(), key, kept, witness)
    print(f"{found.finding}: {found.reason}")
    return EXIT_CODES[found.finding]


def _verify_receipt(args: argparse.Namespace) -> int:
    from gateway.audit.receipts import read_receipt, verify_receipt
    from models.documents import read_document
    from models.trust import TrustStore

    witness = _read_key(args.witness) if args.witness else None
    chain = verify_receipt(
        read_receipt(_read(args.file)),
        _read_key(args.key),
        read_document(args.trust, TrustStore),
        witness,
    )
    for fact in chain.facts:
        print(printable(fact))
    return 0


def _witness(args: argparse.Namespace) -> int:
    import uvicorn

    from gateway.audit.witness import Witness, witness_app
    from models.signing import make_private_key, read_private_key

    private = read_private_key(args.key) if args.key.exists() else make_private_key(args.key)
    signer = SignerKey(args.name, WITNESS, private)
    app = witness_app(Witness(args.state, signer, _read_key(args.log_key)), time.time)
    print(signer.verifier, flush=True)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning", server_header=False)
    return 0


def _read_key(given: str) -> VerifierKey:
    path = Path(given)
    text = _read(path).decode() if path.is_file() else given
    try:
        return VerifierKey.parse(text)
    except AuditFileError as error:
        raise AuditFileError(f"the key {given!r}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuditFileError(f"{path}: {error.strerror}") from error
