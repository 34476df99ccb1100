"""The `airlock` command: a table of verbs, each imported only when it is called.

A verb module has `add_arguments(parser)` and `run(args) -> int`. Verbs of the registry and of the
offline job live in their own planes and are found by name, so that `airlock unlearn` works on a
machine without a web stack and `airlock serve` on one without torch.
"""

import argparse
import errno
import importlib
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, Protocol, cast


class Verb(NamedTuple):
    """Where a verb is implemented, and the line that `airlock --help` shows."""

    module: str
    summary: str


VERBS = {
    "demo": Verb("gateway.cli.demo", "run everything end to end on this machine"),
    "serve": Verb("gateway.cli.serve", "serve the gateway"),
    "config": Verb("gateway.cli.config", "check, show and document the settings"),
    "migrate": Verb("gateway.cli.migrate", "bring the database to the current schema"),
    "backup": Verb("gateway.cli.backup", "back up what cannot be recomputed"),
    "restore": Verb("gateway.cli.restore", "verify a backup, or restore it with doors closed"),
    "bootstrap": Verb("gateway.cli.bootstrap", "create the first administrator"),
    "tiers": Verb("gateway.cli.tiers", "list and change access tiers"),
    "people": Verb("gateway.cli.people", "add, list and change people"),
    "keys": Verb("gateway.cli.keys", "create, list, rotate and revoke API keys"),
    "grants": Verb("gateway.cli.grants", "grant, suspend, review and revoke access to domains"),
    "identities": Verb("gateway.cli.identities", "link people and services to login providers"),
    "organisations": Verb("gateway.cli.organisations", "verify and suspend organisations"),
    "applications": Verb("gateway.cli.applications", "apply for access, review and approve"),
    "evidence": Verb("gateway.cli.evidence", "add, accept and retract evidence about people"),
    "terms": Verb("gateway.cli.terms", "publish and accept terms of use"),
    "breakglass": Verb("gateway.cli.breakglass", "close domains at once, open them by two people"),
    "explain": Verb("gateway.cli.explain", "say why a person is served a model, or not"),
    "contacts": Verb("gateway.cli.contacts", "set who is notified, and who sponsors grants"),
    "notices": Verb("gateway.cli.notices", "list and resend notices, manage webhooks"),
    "visas": Verb("gateway.cli.visas", "import GA4GH visas as evidence, issue visas"),
    "audit": Verb("gateway.cli.audit", "export, verify and witness the audit log"),
    "engines": Verb("gateway.cli.engines", "add, list and remove engines"),
    "contents": Verb("gateway.cli.contents", "open or destroy stored contents, by two people"),
    "checkpoints": Verb("models.cli.checkpoints", "list, show, verify and import checkpoints"),
    "unlearn": Verb("unlearn.cli.unlearn", "fetch a base model and unlearn it"),
    "evaluate": Verb("unlearn.cli.evaluate", "measure a checkpoint beside its base"),
    "gate": Verb("models.cli.gate", "judge a report against a policy"),
    "promote": Verb("models.cli.promote", "point an alias to a gated checkpoint"),
    "rollback": Verb("models.cli.rollback", "point an alias to an earlier checkpoint"),
    "revoke": Verb("models.cli.revoke", "withdraw a checkpoint, at once and permanently"),
    "trust": Verb("models.cli.trust", "manage whose signatures count, and for what"),
    "engine": Verb("models.cli.engine", "serve a promoted checkpoint with vLLM, supervised"),
}


FULL = (errno.ENOSPC, errno.EDQUOT)
"""Of a disk, or of what its owner may have of it."""


class VerbModule(Protocol):
    """What a verb's module provides."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, args: argparse.Namespace) -> int: ...


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """Return the parser; only `verb`'s module is imported, the others are listed by name."""
    parser = argparse.ArgumentParser(
        prog="airlock",
        description="A structured-access gateway for language models.",
        epilog="example: airlock demo    (then: airlock VERB --help)",
    )
    parser.add_argument("--version", action="version", version=f"airlock {version('airlock')}")
    parser.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("AIRLOCK_HOME", ".airlock")),
        metavar="DIR",
        help="directory that holds all state (default: $AIRLOCK_HOME or .airlock)",
    )
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (module, summary) in VERBS.items():
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == verb:
            cast(VerbModule, importlib.import_module(module)).add_arguments(subparser)
    return parser


def requested_verb(argv: list[str]) -> str | None:
    """Return the verb that `argv` names, so that only its module is imported."""
    words = iter(argv)
    for word in words:
        if word == "--home":
            next(words, None)
        elif not word.startswith("-"):
            return word if word in VERBS else None
    return None


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return its exit status (2: wrong usage or a refused request).

    Raises:
        Exception: A defect; every foreseen failure has an `exit_code` and ends as one line.
    """
    words = sys.argv[1:] if argv is None else argv
    verb = requested_verb(words)
    args = build_parser(verb).parse_args(words)
    module = cast(VerbModule, importlib.import_module(VERBS[args.verb].module))
    try:
        status = module.run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone.
        _end_output()
        return 0
    except Exception as error:
        # The planes have one error tree each and may not import each other's; what their leaves
        # share is the exit code that marks them as foreseen.
        code = getattr(error, "exit_code", None)
        if isinstance(code, int):
            _complain(error)
            return code
        problems = getattr(error, "errors", None)
        if isinstance(error, ValueError) and callable(problems):
            # What pydantic says of a word on the command line or of a setting.
            for problem in problems():
                place = ".".join(map(str, problem["loc"]))
                is_unknown = problem["type"] == "extra_forbidden"
                _complain(f"{place}: {'there is no such name' if is_unknown else problem['msg']}")
            return 2
        if isinstance(error, OSError) and error.filename is not None:
            # A file that was named on the command line, nearly always.
            _complain(f"{error.filename}: {error.strerror}")
            return 2
        if isinstance(error, OSError) and error.errno in FULL:
            # Nobody says of a write to which file it was.
            _end_output()
            _complain(error.strerror)
            return 2
        if isinstance(error, UnicodeDecodeError):
            _complain("a file that was named is no text in UTF-8")
            return 2
        if isinstance(error, UnicodeEncodeError) and not all(map(_is_text, words)):
            # A file's name may be of any bytes; an id, which the database is asked for, may not.
            _complain("a word on the command line is no text in UTF-8")
            return 2
        # The job's image has no such package, and who has it has imported it to raise this.
        settings = sys.modules.get("pydantic_settings")
        if settings is not None and isinstance(error, settings.SettingsError):
            _complain(f"{error}: write it as JSON (docs/settings.md)")
            return 2
        raise


def _is_text(word: str) -> bool:
    """Whether a word was UTF-8; Python keeps other bytes as halves of surrogate pairs."""
    return not any("\ud800" <= sign <= "\udfff" for sign in word)


def _complain(text: object) -> None:
    """Print an error as one line that no terminal obeys: it may name what others have written."""
    from models.cli.terminal import printable

    print(f"error: {printable(text)}", file=sys.stderr)


def _end_output() -> None:
    """Write no more to the standard output if it fails: Python would complain again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
