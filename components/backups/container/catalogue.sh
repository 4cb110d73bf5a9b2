# What is in the repository: backups, timelines, restore points.

declare -a BACKUPS=()
declare -A BACKUP=()

# Fills BACKUPS (ids, oldest first: an id begins with its time) and BACKUP[id key]. A backup whose folder lacks
# backup.conf was never finished.
load_catalogue() {
  local folder id line
  BACKUPS=()
  BACKUP=()
  for folder in "$REPOSITORY"/backups/[0-9]*; do
    [ -r "$folder/backup.conf" ] || continue
    id=${folder##*/}
    BACKUPS+=("$id")
    while IFS= read -r line; do
      BACKUP["$id ${line%%=*}"]=${line#*=}
    done <"$folder/backup.conf"
  done
}

backup_value() { printf '%s' "${BACKUP["$1 $2"]:-}"; }

# chain_of ID: the full backup first, ID last. Fails where one of them is missing.
chain_of() {
  local id=$1 chain='' seen=0
  while :; do
    [ -n "${BACKUP["$id id"]:-}" ] || return 1
    chain="$id $chain"
    [ "${BACKUP["$id kind"]}" = full ] && break
    id=${BACKUP["$id parent"]}
    seen=$((seen + 1))
    [ "$seen" -lt 1000 ] || return 1
  done
  printf '%s' "${chain% }"
}

timeline_has_backup() {
  local id
  for id in "${BACKUPS[@]}"; do
    if [ "${BACKUP["$id timeline"]}" = "$1" ]; then return 0; fi
  done
  return 1
}

segment_size() {
  local size
  size=$(cat "$REPOSITORY/wal-segment-size" 2>/dev/null) || size=
  printf '%s' "${size:-16777216}"
}

# The number of a segment, counted from the first one of the cluster. SEGMENTS_A_LOG: how many 4 GB are.
segment_number() { printf '%s' $((16#${1:8:8} * SEGMENTS_A_LOG + 16#${1:16:8})); }
segment_name() { printf '%08X%08X%08X' "$1" $(($2 / SEGMENTS_A_LOG)) $(($2 % SEGMENTS_A_LOG)); }

# lineage TIMELINE: lines "timeline switch" of its forebears, oldest first; switch is the LSN (a number) at which it
# was left. The last line is the timeline itself, with the largest number there is.
lineage() {
  local file parent switch _
  file=$(printf '%s/wal/%08X.history' "$REPOSITORY" "$1")
  if [ -r "$file" ]; then
    while read -r parent switch _; do
      case $parent in '' | \#*) continue ;; esac
      printf '%s %s\n' "$parent" "$(lsn_number "$switch")"
    done <"$file"
  fi
  printf '%s 9223372036854775807\n' "$1"
}

# The timeline that the server was on when it was last looked at.
current_timeline() {
  local line last=
  if [ -r "$REPOSITORY/state/timelines" ]; then
    while read -r line; do last=${line%% *}; done <"$REPOSITORY/state/timelines"
  fi
  printf '%s' "${last:-1}"
}

# timeline_at EPOCH: which one was the server's then. After a restore, the same second may be on two.
timeline_at() {
  local timeline since last=
  if [ -r "$REPOSITORY/state/timelines" ]; then
    while read -r timeline since; do
      if [ -z "$last" ] || [ "$(epoch "$since")" -le "$1" ]; then last=$timeline; fi
    done <"$REPOSITORY/state/timelines"
  fi
  printf '%s' "${last:-1}"
}

# on_lineage ID LINEAGE: whether recovery can go from a backup to that timeline.
on_lineage() {
  local timeline switch mine stop
  mine=${BACKUP["$1 timeline"]}
  stop=$(lsn_number "${BACKUP["$1 stop_lsn"]}")
  while read -r timeline switch; do
    if [ "$timeline" = "$mine" ] && [ "$stop" -le "$switch" ]; then return 0; fi
  done <<<"$2"
  return 1
}
