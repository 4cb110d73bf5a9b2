#!/usr/bin/env bash
# Initialises an empty PGDATA as docker-entrypoint.sh does, and ends without starting the server: for an init
# container, or before a restore. Called docker-enforce-initdb.sh, it fails where a database is already there.
set -Eeuo pipefail
# shellcheck source=docker-entrypoint.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/docker-entrypoint.sh"

if [ "${1:-}" = postgres ]; then shift; fi
read_settings
prepare_directories
if [ "$(id -u)" = 0 ]; then exec gosu postgres "$0" "$@"; fi

if ! cluster_exists; then
  initialise "$@"
elif [ "$(basename "$0")" = docker-enforce-initdb.sh ]; then
  fail "'$PGDATA' already holds a database."
else
  say "'$PGDATA' already holds a database; nothing to do."
fi
