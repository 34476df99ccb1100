"""Request bodies as typed allow-lists: what is not declared here never reaches an engine."""
