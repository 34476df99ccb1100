"""The registry plane: what a checkpoint is, what was measured on it, what an alias points to.

Files and pure functions, no server. `gateway` and `unlearn` build on it; it imports neither.
"""
