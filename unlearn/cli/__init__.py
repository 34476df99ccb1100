"""The offline job's verbs of the `airlock` command; only here the job prints."""
