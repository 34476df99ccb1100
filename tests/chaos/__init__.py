"""Load and chaos: every part of a whole installation is killed, stopped, slowed and cut in turn.

    python -m tests.chaos --home .airlock

Two gateway processes, PostgreSQL, Redis, two real vLLM engines and, where it is installed,
Prometheus run on one machine, on loopback alone; callers of both doors ask all the while.
"""
