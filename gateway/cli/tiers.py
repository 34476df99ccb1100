"""`airlock tiers`: list and change access tiers."""

import argparse
from datetime import UTC, datetime

from gateway.cli.tables import ACTOR, add_json, in_transaction, show, show_one
from gateway.controlplane import tiers
from gateway.controlplane.schemas import TierChange, TierIn, TierOut
from gateway.policy.capabilities import Capability
from gateway.settings import Settings

EXAMPLES = """\
examples:
  airlock tiers list
  airlock tiers add partner --description "Partner laboratories" --grantable
  airlock tiers set public --requests-per-minute 60
  airlock tiers set partner --capabilities raw_completions echo prompt_logprobs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's words."""
    parser.epilog = EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True)
    add_json(actions.add_parser("list", help="all tiers"))
    for name, summary in (("add", "a new tier"), ("set", "change a tier")):
        action = actions.add_parser(name, help=summary)
        action.add_argument("name")
        action.add_argument("--description", required=name == "add")
        action.add_argument(
            "--grantable", action=argparse.BooleanOptionalAction, help="members' grants count"
        )
        action.add_argument(
            "--capabilities",
            nargs="*",
            choices=[str(capability) for capability in Capability],
            metavar="NAME",
            help="what members may ask for beyond a plain answer, all of it; none without a name: "
            + ", ".join(Capability),
        )
        action.add_argument(
            "--priority", type=int, help="-100 to 100; engines take the higher first (0)"
        )
        action.add_argument("--max-grant-days", type=int)
        for flag in (
            "--requests-per-minute",
            "--tokens-per-minute",
            "--tokens-per-day",
            "--max-concurrent",
            "--organisation-multiple",
        ):
            action.add_argument(flag, type=int)
        add_json(action)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    settings, now = Settings(home=args.home), datetime.now(UTC)
    if args.action == "list":
        rows = in_transaction(settings, tiers.list_tiers)
        show([TierOut.model_validate(row) for row in rows], as_json=args.json)
        return 0
    given = {
        name: value
        for name in TierChange.model_fields
        if (value := getattr(args, name)) is not None
    }
    if args.action == "add":
        new = TierIn(name=args.name, **{"grantable": False, **given})
        tier = in_transaction(settings, lambda s: tiers.create_tier(s, new, actor=ACTOR, now=now))
    else:
        change = TierChange(**given)
        tier = in_transaction(
            settings, lambda s: tiers.change_tier(s, args.name, change, actor=ACTOR, now=now)
        )
    show_one(TierOut.model_validate(tier), as_json=args.json)
    return 0
