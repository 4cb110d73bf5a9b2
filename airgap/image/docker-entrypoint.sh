#!/usr/bin/env bash
# Start-up of the stand-in PostgreSQL image: the same environment variables, files and order as the official
# image's entrypoint. Runs as root or as the server's user; with an empty PGDATA it creates the cluster and
# runs /docker-entrypoint-initdb.d, then becomes the command it was given.
set -Eeuo pipefail

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

fail() {
  say "error: $1"
  shift
  if [ "$#" -gt 0 ]; then printf '       %s\n' "$@" >&2; fi
  exit 1
}

# value_of NAME [DEFAULT]: exports NAME from itself, from the file that NAME_FILE names, or from DEFAULT.
value_of() {
  local name="$1" file_name="$1_FILE" value="${2:-}"
  if [ -n "${!name:-}" ] && [ -n "${!file_name:-}" ]; then
    fail "both $name and $file_name are set; set only one of them."
  fi
  if [ -n "${!name:-}" ]; then
    value="${!name}"
  elif [ -n "${!file_name:-}" ]; then
    [ -r "${!file_name}" ] || fail "$file_name names '${!file_name}', which can't be read."
    value="$(<"${!file_name}")"
  fi
  export "$name=$value"
  unset "$file_name"
}

read_settings() {
  value_of POSTGRES_PASSWORD
  value_of POSTGRES_USER postgres
  value_of POSTGRES_DB "$POSTGRES_USER"
  value_of POSTGRES_INITDB_ARGS
  : "${POSTGRES_HOST_AUTH_METHOD:=}" "${POSTGRES_INITDB_WALDIR:=}" "${PGDATA:?is empty}"
}

cluster_exists() { [ -s "$PGDATA/PG_VERSION" ]; }

prepare_directories() {
  local waldir="$POSTGRES_INITDB_WALDIR"
  mkdir -p "$PGDATA" /var/run/postgresql
  # Best effort: a container with an arbitrary --user owns neither.
  chmod 0700 "$PGDATA" 2>/dev/null || :
  chmod 3775 /var/run/postgresql 2>/dev/null || :
  if [ -n "$waldir" ]; then
    mkdir -p "$waldir"
    chmod 0700 "$waldir"
  fi
  if [ "$(id -u)" = 0 ]; then
    find "$PGDATA" /var/run/postgresql ${waldir:+"$waldir"} \! -user postgres -exec chown postgres '{}' +
  fi
}

# From major version 18 on the data lives in /var/lib/postgresql/MAJOR/docker and the volume belongs one
# level higher, so that pg_upgrade --link can be used. A volume laid out the old way would be passed over in
# silence and its database would seem lost.
refuse_old_layout() {
  [ "$PG_MAJOR" -ge 18 ] && [ "$PGDATA" = "/var/lib/postgresql/$PG_MAJOR/docker" ] || return 0
  local found=() directory
  for directory in /var/lib/postgresql /var/lib/postgresql/data /var/lib/postgresql/[0-9]*/docker; do
    if [ -s "$directory/PG_VERSION" ]; then
      found+=("$directory (version $(<"$directory/PG_VERSION"))")
    elif [ "$directory" = /var/lib/postgresql/data ] && grep -q ' /var/lib/postgresql/data ' /proc/self/mountinfo; then
      found+=("$directory (a volume mounted the way of version 17 and older)")
    fi
  done
  if [ "${#found[@]}" -gt 0 ]; then
    fail "PostgreSQL $PG_MAJOR keeps its data in $PGDATA, but there is data of another place or version:" \
      "${found[@]}" \
      "Mount the volume at /var/lib/postgresql, and bring an older cluster over with pg_upgrade or a dump."
  fi
}

check_password() {
  if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
    fail "the database is new and its superuser has no password." \
      "Set POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE) to a value that is not empty." \
      "POSTGRES_HOST_AUTH_METHOD=trust instead lets everybody in without one: never where others can connect."
  fi
  if [ "$POSTGRES_HOST_AUTH_METHOD" = trust ]; then
    say "warning: POSTGRES_HOST_AUTH_METHOD=trust: whoever reaches the port has full access, without a password."
  fi
}

create_cluster() {
  local waldir=()
  if [ -n "$POSTGRES_INITDB_WALDIR" ]; then waldir=(--waldir "$POSTGRES_INITDB_WALDIR"); fi
  # initdb refuses a user id that has no name: lend it one.
  if ! getent passwd "$(id -u)" >/dev/null; then
    local wrapper
    wrapper="$(find /usr/lib -name libnss_wrapper.so -print -quit)"
    [ -n "$wrapper" ] || fail "user id $(id -u) has no entry in /etc/passwd."
    NSS_WRAPPER_PASSWD="$(mktemp)" NSS_WRAPPER_GROUP="$(mktemp)"
    export LD_PRELOAD="$wrapper" NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
    printf 'postgres:x:%s:%s:PostgreSQL:%s:/bin/false\n' "$(id -u)" "$(id -g)" "$PGDATA" >"$NSS_WRAPPER_PASSWD"
    printf 'postgres:x:%s:\n' "$(id -g)" >"$NSS_WRAPPER_GROUP"
  fi
  # eval: POSTGRES_INITDB_ARGS is a piece of command line, quotes included.
  eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") "${waldir[@]}" '"$POSTGRES_INITDB_ARGS"
  if [ -n "${NSS_WRAPPER_PASSWD:-}" ]; then
    rm -f "$NSS_WRAPPER_PASSWD" "$NSS_WRAPPER_GROUP"
    unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
  fi
}

# allow_network_logins SERVER_ARGUMENTS...: by the server's own password_encryption, unless told otherwise.
allow_network_logins() {
  local method="$POSTGRES_HOST_AUTH_METHOD"
  if [ -z "$method" ]; then method="$(postgres -C password_encryption -D "$PGDATA" "$@")"; fi
  {
    printf '\n'
    if [ "$method" = trust ]; then printf '# trust: anyone who reaches the server is let in.\n'; fi
    printf 'host all all all %s\n' "$method"
  } >>"$PGDATA/pg_hba.conf"
}

# Socket only: nobody sees the server over TCP before every init script has run.
start_temporary_server() {
  PGUSER="${PGUSER:-$POSTGRES_USER}" NOTIFY_SOCKET='' \
    pg_ctl -D "$PGDATA" -w start -o "$(printf '%q ' "$@" -c listen_addresses= -p "${PGPORT:-5432}")"
}

stop_temporary_server() { PGUSER="${PGUSER:-$POSTGRES_USER}" pg_ctl -D "$PGDATA" -m fast -w stop; }

# run_sql [PSQL_ARGUMENTS...]: as the superuser, in POSTGRES_DB unless told otherwise, up to the first error.
run_sql() {
  PGHOST='' PGHOSTADDR='' psql --no-psqlrc --no-password -v ON_ERROR_STOP=1 \
    --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" "$@"
}

create_database() {
  local there
  there="$(run_sql --dbname postgres --tuples-only --no-align -v name="$POSTGRES_DB" \
    <<<"SELECT 1 FROM pg_database WHERE datname = :'name'")"
  if [ -z "$there" ]; then
    run_sql --dbname postgres -v name="$POSTGRES_DB" <<<'CREATE DATABASE :"name"'
  fi
}

run_init_files() {
  local file
  for file in "$@"; do
    case "$file" in
      *.sh)
        if [ -x "$file" ]; then
          say "running $file"
          "$file"
        else
          # Not executable: part of this script, as in the official image. It may count on unset variables.
          say "sourcing $file"
          set +u
          # shellcheck source=/dev/null
          . "$file"
          set -u
        fi
        ;;
      *.sql) say "running $file" && run_sql --file "$file" ;;
      *.sql.gz) say "running $file" && gunzip --stdout "$file" | run_sql ;;
      *.sql.xz) say "running $file" && xz --decompress --stdout "$file" | run_sql ;;
      *.sql.zst) say "running $file" && zstd --decompress --stdout "$file" | run_sql ;;
      *) say "ignoring $file" ;;
    esac
  done
}

# initialise SERVER_ARGUMENTS...: from an empty PGDATA to a stopped server with everything in it.
initialise() {
  check_password
  refuse_old_layout
  # Fails now, not half-way, where the folder can't be read.
  ls /docker-entrypoint-initdb.d/ >/dev/null
  create_cluster
  allow_network_logins "$@"
  export PGPASSWORD="${PGPASSWORD:-$POSTGRES_PASSWORD}"
  start_temporary_server "$@"
  create_database
  shopt -s nullglob
  run_init_files /docker-entrypoint-initdb.d/*
  shopt -u nullglob
  stop_temporary_server
  unset PGPASSWORD
  say 'PostgreSQL init process complete; ready for start up.'
}

asks_for_information() {
  local argument
  for argument in "$@"; do
    case "$argument" in
      -'?' | --help | --describe-config | -V | --version) return 0 ;;
    esac
  done
  return 1
}

main() {
  case "${1:-}" in
    -*) set -- postgres "$@" ;;
  esac
  if [ "${1:-}" = postgres ] && ! asks_for_information "$@"; then
    read_settings
    prepare_directories
    if [ "$(id -u)" = 0 ]; then exec gosu postgres "${BASH_SOURCE[0]}" "$@"; fi
    if cluster_exists; then
      say "PGDATA ($PGDATA) holds a database; skipping initialization."
    else
      initialise "${@:2}"
    fi
  fi
  exec "$@"
}

# Sourced by docker-ensure-initdb.sh, which uses the functions alone.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
