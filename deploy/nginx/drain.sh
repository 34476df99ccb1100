#!/bin/sh
# Sends no new request to the gateway that is named; without a name, to every one again. What runs
# goes on. It runs in the proxy's container, also as its start (see docker-compose.yml).
set -eu

nginx=${NGINX_DIRECTORY:-/etc/nginx}
list=${UPSTREAM:-/tmp/upstream.conf}

if [ $# -eq 1 ] && ! grep -q "server $1:" "$nginx/upstream.conf"; then
    echo "error: no gateway is called $1" >&2
    exit 2
fi
sed "s/server ${1:-nobody}:[0-9]*/& down/" "$nginx/upstream.conf" > "$list.new"
mv "$list.new" "$list"
if [ -s /tmp/nginx.pid ] || [ -n "${NGINX_PID:-}" ]; then
    kill -HUP "${NGINX_PID:-$(cat /tmp/nginx.pid)}"
fi
