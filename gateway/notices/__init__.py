"""Notices: who is told of what, by mail or webhook, after it has happened."""
