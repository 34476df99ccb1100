"""`airlock explain`: why a person is served a model, or not."""

import argparse
from datetime import UTC, datetime

from gateway.cli.tables import add_json, in_transaction
from gateway.controlplane.explanations import explain_person
from gateway.controlplane.verification_schemas import ExplanationOut
from gateway.settings import Settings
from models.cli.terminal import printable

EXAMPLES = """\
Ends with status 0 when the answer is allow, 1 when it is deny.

examples:
  airlock explain PERSON smollm2
  airlock explain PERSON smollm2:base --json
  airlock explain PERSON smollm2:base --key ID
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    parser.add_argument("person", help="id")
    parser.add_argument("model", help="a family, or family:label")
    parser.add_argument("--key", metavar="ID", help="by this key of theirs, as it is narrowed")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    found = in_transaction(
        settings, lambda s: explain_person(s, args.person, args.model, now, args.key)
    )
    explained = ExplanationOut.model_validate(found)
    if args.json:
        print(explained.model_dump_json(indent=2))
    else:
        print(f"{explained.effect}: {explained.rule}")
        if explained.served is not None:
            print(f"  answered by {explained.served}")
        if explained.missing:
            print(f"  missing grants: {', '.join(explained.missing)}")
        for ground in explained.grounds:
            print(f"  {ground.row}: {printable(ground.says)}")
    return 0 if explained.effect == "allow" else 1
