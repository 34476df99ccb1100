"""The registry's verbs of the `airlock` command; only here the registry prints."""
