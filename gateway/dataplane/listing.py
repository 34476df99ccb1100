"""`GET /v1/models`: the names that a caller may ask for now, and nothing about where they are."""

from datetime import datetime

from gateway.dataplane.catalogue import Catalogue
from gateway.errors import UnknownModelError
from gateway.policy.routing import eligible

MODELS_PATH = "/v1/models"


def list_models(
    catalogue: Catalogue, domains: frozenset[str], now: datetime
) -> list[dict[str, object]]:
    """Return an entry for each name that grants for `domains` cover, by name."""
    entries: dict[str, dict[str, object]] = {}
    for family in catalogue.families.values():
        for rank, alias in enumerate(eligible(family, domains)):
            name = f"{family.name}:{alias.label}"
            if catalogue.why_withdrawn(name, now) is not None:
                continue
            entry: dict[str, object] = {
                "object": "model",
                "created": int(catalogue.promoted_at[name].timestamp()),
                "owned_by": "airlock",
            }
            if (length := catalogue.max_model_lens.get(alias.checkpoint)) is not None:
                entry["max_model_len"] = length
            entries[name] = entry
            if rank == 0:  # The one that the family's name alone leads to.
                entries[family.name] = entry
    return [{"id": name, **entry} for name, entry in sorted(entries.items())]


def answer_for(path: str, entries: list[dict[str, object]]) -> dict[str, object]:
    """Return the whole list, or the one entry that the path names.

    Raises:
        UnknownModelError: The caller may not ask for it, or there is none of that name.
    """
    wanted = path.removeprefix(MODELS_PATH).removeprefix("/")
    if not wanted:
        return {"object": "list", "data": entries}
    entry = next((item for item in entries if item["id"] == wanted), None)
    if entry is None:
        raise UnknownModelError(wanted[:200])
    return entry
