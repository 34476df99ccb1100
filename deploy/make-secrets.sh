#!/bin/sh
# Makes the secrets that docker-compose.yml mounts, each once; a secret that exists is kept.
#
# The directory is its owner's alone. The files in it can be read by all, because Compose mounts
# them as they are and every container runs as another user: nobody else on the host gets past the
# directory, and a container sees only the files that it is given.
set -eu

directory=${1:-"$(dirname "$0")/secrets"}
mkdir -p "$directory"
chmod 0700 "$directory"

for name in postgres_password redis_password gateway_secret \
    engine_base_key engine_unlearned_key engine_base_attest_key engine_unlearned_attest_key \
    grafana_password; do
    file=$directory/$name
    if [ -s "$file" ]; then
        echo "kept $name"
        continue
    fi
    # 256 random bits as 64 hexadecimal digits: no character that a URL, a shell or a
    # configuration file would read as anything else.
    digits=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    [ "${#digits}" -eq 64 ] || { echo "error: no randomness for $name" >&2; exit 1; }
    printf '%s' "$digits" > "$file.new"
    chmod 0444 "$file.new"
    mv "$file.new" "$file"
    echo "made $name"
done

# Addresses that hold a token, which only you know: until you write them, alerts reach nobody.
for name in alert_pager_url alert_ticket_url alert_watchdog_url; do
    file=$directory/$name
    if [ -s "$file" ]; then
        echo "kept $name"
        continue
    fi
    printf 'http://127.0.0.1:9/nobody' > "$file.new"
    chmod 0444 "$file.new"
    mv "$file.new" "$file"
    echo "made $name: write the address of your webhook into it, or alerts reach nobody"
done
