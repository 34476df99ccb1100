#!/bin/sh
# Starts the gateways anew, one after the other: after a change of .env, of a secret or of the image.
# The proxy sends nothing to the one that is being replaced, and running answers end first.
set -eu
cd "$(dirname "$0")/.."

ready='import urllib.request as r; r.urlopen("http://127.0.0.1:8000/readyz", timeout=2)'
for gateway in gateway gateway-2; do
    echo "replacing $gateway"
    docker compose exec -T proxy /etc/nginx/drain.sh "$gateway"
    sleep "${ROLL_PAUSE:-2}"
    docker compose up --detach --no-deps --force-recreate --wait "$gateway"
    tries=0
    until docker compose exec -T "$gateway" python -c "$ready" 2> /dev/null; do
        tries=$((tries + 1))
        # The other one still answers: stop here, so that somebody looks.
        [ "$tries" -lt 60 ] || { echo "error: $gateway is not ready; it gets no request" >&2; exit 1; }
        sleep "${ROLL_PAUSE:-2}"
    done
    docker compose exec -T proxy /etc/nginx/drain.sh
done
