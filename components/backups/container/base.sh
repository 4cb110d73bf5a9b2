# Base backups, full and incremental.

# decide_kind MAJOR SUMMARIES(on|off) NEWEST(usable|none) FULL_AGE FULL_EVERY: full, or incr for one that has only what
# has changed since the newest.
decide_kind() {
  if [ "$1" -ge 17 ] && [ "$2" = on ] && [ "$3" = usable ] && [ "$4" -lt "$5" ]; then echo incr; else echo full; fi
}

# Only one at a time works in backups/. The lock goes with the process, also when that is killed: no program that goes on
# without it gets the lock's descriptor.
lock_backups() {
  exec {BACKUPS_LOCK}>"$REPOSITORY/state/lock"
  if ! flock -n "$BACKUPS_LOCK"; then
    say "Another base backup is being taken; waits for its end"
    flock "$BACKUPS_LOCK"
  fi
}

# What a killed backup has left running. pg_basebackup's process for the WAL never ends by itself when the other one is
# killed, and keeps a slot on the server. Whoever holds the lock knows that there is no other.
end_orphans() {
  local process
  for process in /proc/[0-9]*; do
    case $({ tr '\0' ' ' <"$process/cmdline"; } 2>/dev/null) in
      "pg_basebackup "*" $REPOSITORY/backups/.incomplete-"*) kill -KILL "${process#/proc/}" 2>/dev/null || true ;;
    esac
  done
}

manifest_ranges() {
  tr -d '\n' <"$1" | sed -n 's/.*"WAL-Ranges": *\[\(.*\)\].*/\1/p' | tr '{' '\n' |
    sed -n 's/.*"Timeline": *\([0-9]*\).*"Start-LSN": *"\([^"]*\)".*"End-LSN": *"\([^"]*\)".*/\1 \2 \3/p'
}

manifest_bytes() {
  sed -n 's/.*"Size": \([0-9]*\),.*/\1/p' "$1" | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

# take_base full|needed|scheduled|now. Anything but "scheduled" does not spread the checkpoint's work over minutes.
take_base() {
  local why=$1 kind newest='' parent='' usable=none age=0 lines id folder started ended major checkpoint=fast
  local timeline start stop _ ranges size cluster info summaries superuser xid i workers
  lock_backups
  end_orphans
  rm -rf "$REPOSITORY"/backups/.incomplete-*
  identify >"$RUN/identify" || fail "$(cat "$RUN/identify")" "mend that, then run it again."
  info=$(query "SELECT current_setting('server_version_num')::int / 10000, coalesce(current_setting('summarize_wal', true), 'off'), current_setting('server_version'), (SELECT rolname FROM pg_roles WHERE oid = 10)") ||
    fail "The server did not say what it is." "see the line above."
  IFS='|' read -r major summaries version superuser <<<"$info"
  [ "$major" = "$(server_major)" ] || fail "The server is PostgreSQL $major, this container's programs are of $(server_major)." "use the server's own image."
  load_catalogue
  lines=$(lineage "$TIMELINE")
  for ((i = ${#BACKUPS[@]} - 1; i >= 0; i--)); do
    id=${BACKUPS[i]}
    # An incremental one goes on from the newest of this timeline; what is from before a restore stays apart.
    [ "${BACKUP["$id timeline"]}" = "$TIMELINE" ] && chain_of "$id" >/dev/null || continue
    newest=$id usable=usable
    parent=$(chain_of "$id")
    age=$(($(date +%s) - $(epoch "${BACKUP["${parent%% *} started"]}")))
    break
  done
  kind=$(decide_kind "$major" "$summaries" "$usable" "$age" "$BACKUP_FULL_EVERY")
  case $why in
    full | needed) kind=full ;;
    scheduled) checkpoint=spread ;;
  esac
  if [ "$kind" = incr ] && ! copy_cluster incr "$newest" "$checkpoint"; then
    say "The server can't give an incremental backup ($(one_line <"$RUN/pg_basebackup.error")); takes a full one"
    rm -rf "$FOLDER"
    kind=full
  fi
  if [ "$kind" = full ]; then
    copy_cluster full '' "$checkpoint" || fail "The base backup failed: $(one_line <"$RUN/pg_basebackup.error")" \
      "see whether the server runs, and whether the repository has room (df); the next try begins afresh."
  fi
  folder=$FOLDER id=$ID started=$STARTED
  info=$(query "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), pg_snapshot_xmax(pg_current_snapshot()), pg_current_wal_insert_lsn()") ||
    fail "The server was lost at the end of the base backup." "see whether it runs; the next try begins afresh."
  IFS='|' read -r ended xid COMMITTED <<<"$info"
  [ ! -e "$folder/pg_wal.tar" ] || zstd -q -1 --rm "$folder/pg_wal.tar" || fail "There is no room in the repository for the backup's WAL." "make room."
  ranges=$(manifest_ranges "$folder/backup_manifest")
  read -r timeline start _ <<<"$(head -n 1 <<<"$ranges")"
  read -r _ _ stop <<<"$(tail -n 1 <<<"$ranges")"
  [ -n "$stop" ] || fail "The backup's manifest has no WAL ranges: $folder/backup_manifest" "run it again."
  SEGMENTS_A_LOG=$((0x100000000 / $(segment_size)))
  cluster=$(manifest_bytes "$folder/backup_manifest")
  if [ "$kind" = incr ]; then cluster=${BACKUP["$newest cluster_bytes"]}; fi
  (cd "$folder" && sha256sum -- *.zst backup_manifest >SHA256SUMS) || fail "Checksums could not be written to $folder." "make room."
  size=$(du -sb "$folder" | cut -f 1)
  cat >"$folder/backup.conf" <<CONF || fail "backup.conf could not be written to $folder." "make room."
id=$id
kind=$kind
parent=$([ "$kind" = full ] || echo "$newest")
started=$started
ended=$ended
timeline=$timeline
start_lsn=$start
stop_lsn=$stop
start_wal=$(segment_name "$timeline" $(($(lsn_number "$start") / $(segment_size))))
server_version=$version
size_bytes=$size
cluster_bytes=$cluster
database=${PGDATABASE:-postgres}
superuser=$superuser
next_xid=$xid
CONF
  sync "$folder"/* "$folder" || fail "The backup could not be written to disk: $folder" "see whether the disk is in order."
  mv "$folder" "$REPOSITORY/backups/$id" && sync "$REPOSITORY/backups"
  say "Base backup $id is whole: $(size_text "$size")"
  query "INSERT INTO backups.backup VALUES ('$id', '$kind', '$started', '$ended', $size, true)" 2>/dev/null >&2 || true
  apply_retention || say "Old backups could not be removed; tried again with the next one"
}

# copy_cluster full|incr NEWEST CHECKPOINT: sets FOLDER, ID, STARTED.
copy_cluster() {
  local kind=$1 newest=$2 checkpoint=$3 cores workers=() incremental=()
  STARTED=$(now_iso)
  ID=$(date -u -d "$STARTED" +%Y%m%dT%H%M%SZ)-$kind
  while [ -e "$REPOSITORY/backups/$ID" ]; do
    sleep 0.2
    STARTED=$(now_iso)
    ID=$(date -u -d "$STARTED" +%Y%m%dT%H%M%SZ)-$kind
  done
  FOLDER=$REPOSITORY/backups/.incomplete-$ID
  cores=$(nproc)
  [ "$cores" -eq 1 ] || workers=(",workers=$((cores > 4 ? 4 : cores))")
  if [ "$kind" = incr ]; then incremental=("--incremental=$REPOSITORY/backups/$newest/backup_manifest"); fi
  say "Base backup $ID begins${newest:+ (what has changed since $newest)}"
  mkdir "$FOLDER" 2>"$RUN/pg_basebackup.error" || return 1
  (
    exec {BACKUPS_LOCK}>&-
    PGAPPNAME=pgbackup_base exec pg_basebackup -w -D "$FOLDER" -Ft -X stream --checkpoint "$checkpoint" --no-sync "${incremental[@]}" \
      --compress "client-zstd:level=1${workers[*]}" 2>"$RUN/pg_basebackup.error"
  )
}

# Waits until the repository has all WAL up to an LSN.
await_received() {
  local wanted received last='' still=0
  wanted=$(lsn_floor "$1")
  while :; do
    received=$(query "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = :'slot' AND active" 2>/dev/null) || received=
    if [ -n "$received" ] && [ "$(lsn_number "$received")" -ge "$wanted" ]; then return 0; fi
    if [ "$received" = "$last" ]; then still=$((still + 1)); else still=0 last=$received; fi
    [ "$still" -lt $((${BACKUP_PATIENCE:-120} * 2)) ] || return 1
    sleep 0.5
  done
}

now_command() {
  local why=now
  case ${1:-} in
    '') ;;
    --full) why=full ;;
    *) fail "pgbackup now does not know: $1" "pgbackup now [--full]" ;;
  esac
  make_folders
  RUN=$RUN/now-$$
  mkdir -p "$RUN"
  trap 'rm -rf "$RUN"' EXIT
  trap 'exit 130' INT TERM
  take_base "$why"
  say "Waits until all that was committed before is in the repository"
  await_received "$COMMITTED" || fail \
    "Backup $ID is whole, but WAL after it does not arrive in the repository: $(conf_value "$REPOSITORY/state/status.conf" last_error)" \
    "see the backup container's log; without that WAL, only the state at the backup's end can be restored."
  say "All up to $COMMITTED is in the repository"
}
