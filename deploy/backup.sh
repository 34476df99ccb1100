#!/bin/sh
# Backs the Compose stack up, reads the backup again, and ends those of more than two weeks ago: for
# cron, each hour (docs/backup.md). Its status says whether all of that worked.
set -eu
cd "$(dirname "$0")/.."

to=/backups/$(date -u +%Y-%m-%dT%H%M%S)
docker compose run --rm -T backup backup --to "$to"
docker compose run --rm -T backup restore "$to" --verify
# As the user who owns them, and only once a newer one could be read.
docker compose run --rm -T --entrypoint find backup \
    /backups -mindepth 1 -maxdepth 1 -type d -mtime +14 -exec rm -rf {} +
