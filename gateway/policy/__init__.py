"""Who may be served which checkpoint: pure functions of values, no database, HTTP or clock."""
