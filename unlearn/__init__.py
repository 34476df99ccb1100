"""The offline plane: makes unlearned checkpoints (CUT, RMU) and measures them.

Runs on the machine with the weights. Imports the registry and nothing of the online service.
"""
