"""Organisations by their names, which `models.names` compares. Pure."""

KEY_AT_MOST = 600
"""Signs of a name's key. Those of a name can become eighteen each."""
