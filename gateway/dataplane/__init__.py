"""The request path: pure ASGI, no database, no checkpoint store."""
