# What all parts of pgbackup use: settings, messages, small files of "key=value" lines, numbers.

: "${REPOSITORY:=/repository}" "${SCRATCH:=/scratch}" "${COPY_STATE:=/copy}"
: "${BACKUP_SLOT:=backup}" "${BACKUP_EVERY:=86400}" "${BACKUP_FULL_EVERY:=604800}"
: "${BACKUP_WINDOW:=1209600}" "${BACKUP_MINIMUM:=2}"
: "${HEARTBEAT_EVERY:=60}" "${DRILL_EVERY:=86400}" "${DRILL_QUERY:=}"
# Seconds between two looks at the server, and before what failed is tried again.
: "${BACKUP_POLL:=2}" "${BACKUP_RETRY:=60}"
# Files of the running container alone.
: "${RUN:=/tmp/pgbackup-$(id -u)}"
export PGCONNECT_TIMEOUT="${PGCONNECT_TIMEOUT:-10}" LC_ALL=C TZ=UTC
umask 0077
mkdir -p "$RUN"

say() { printf '%s\n' "$*"; }

# fail WHAT [NEXT]: what happened and where; what to do.
fail() {
  printf '%s\n' "$1" >&2
  if [ -n "${2:-}" ]; then printf 'What to do: %s\n' "$2" >&2; fi
  exit 1
}

one_line() { tr '\n' ' ' | sed 's/  */ /g; s/ $//'; }

now_iso() { date -u +%Y-%m-%dT%H:%M:%SZ; }
epoch() { date -u -d "$1" +%s; }

# conf_value FILE KEY: nothing where either is missing.
conf_value() {
  local line
  [ -r "$1" ] || return 0
  while IFS= read -r line || [ -n "$line" ]; do
    if [ "${line%%=*}" = "$2" ]; then
      printf '%s' "${line#*=}"
      return 0
    fi
  done <"$1"
}

# A file with standard input as its content: the old one or the new one, whatever happens. Where there is no room
# for a second one, the old one's own block is written over.
write_file() {
  local file=$1 text
  text=$(cat)
  if printf '%s\n' "$text" >"$file.tmp" 2>/dev/null && sync "$file.tmp" && mv "$file.tmp" "$file"; then return 0; fi
  rm -f "$file.tmp"
  [ -s "$file" ] || return 1
  printf '%s\n' "$text" | dd of="$file" conv=notrunc status=none 2>/dev/null || return 1
  truncate -s $((${#text} + 1)) "$file"
}

# LSN as a number, and the other way round.
lsn_number() { printf '%s' $(((16#${1%/*} << 32) | 16#${1#*/})); }
lsn_text() { printf '%X/%X' $(($1 >> 32)) $(($1 & 0xffffffff)); }

# A record that ends on a page's edge has two positions: before and after the next page's header.
lsn_floor() {
  local number
  number=$(lsn_number "$1")
  if [ $((number % 8192)) -le 40 ]; then number=$((number - number % 8192)); fi
  printf '%s' "$number"
}

server_major() {
  local text
  text=$(postgres --version)
  text=${text##*PostgreSQL) }
  printf '%s' "${text%%[!0-9]*}"
}

size_text() {
  local bytes=${1:-0}
  if [ "$bytes" -ge $((10 << 30)) ]; then
    printf '%d GB' $((bytes >> 30))
  elif [ "$bytes" -ge $((10 << 20)) ]; then
    printf '%d MB' $((bytes >> 20))
  else
    printf '%d kB' $((bytes >> 10))
  fi
}

age_text() {
  local seconds=$1
  if [ "$seconds" -ge 172800 ]; then
    printf '%d days' $((seconds / 86400))
  elif [ "$seconds" -ge 7200 ]; then
    printf '%d hours' $((seconds / 3600))
  elif [ "$seconds" -ge 120 ]; then
    printf '%d minutes' $((seconds / 60))
  else
    printf '%d s' "$seconds"
  fi
}

free_bytes() { echo $(($(stat -f -c '%a * %S' "$1"))); }

json_string() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\t'/ }
  text=${text//[$'\001'-$'\037']/ }
  printf '"%s"' "$text"
}

# null for nothing.
json_text() { if [ -z "$1" ]; then printf null; else json_string "$1"; fi; }
json_number() { printf '%s' "${1:-null}"; }
json_flag() { case $1 in yes | true) printf true ;; *) printf false ;; esac }
