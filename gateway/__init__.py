"""The online plane: authenticates callers and routes each to a checkpoint that its grants cover."""
