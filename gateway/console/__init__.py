"""The console: pages for people over the admin API."""
