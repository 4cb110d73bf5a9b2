# Restore: a data directory as it was at a point in time. Never an earlier one without a word.

RESTORE_SERVER=

stop_restore_server() {
  [ -n "$RESTORE_SERVER" ] || return 0
  kill -QUIT "$RESTORE_SERVER" 2>/dev/null || true
  wait "$RESTORE_SERVER" 2>/dev/null || true
  RESTORE_SERVER=
}

outside() {
  fail "$1
$(window_text)
Nothing was changed." "choose a point inside; pgbackup list shows the backups and the restore points."
}

# extract ID FOLDER: a backup's files, checked against its checksums on the way. Tablespaces become folders inside.
extract() {
  local from=$REPOSITORY/backups/$1 to=$2 file name wanted got place
  mkdir -p "$to"
  for file in "$from"/*.tar.zst; do
    name=${file##*/}
    wanted=$(sed -n "s/^\([0-9a-f]*\) [ *]$name\$/\1/p" "$from/SHA256SUMS")
    case $name in
      base.tar.zst) place=$to ;;
      pg_wal.tar.zst) place=$to/pg_wal ;;
      *) place=$to/pg_tblspc/${name%%.*} ;;
    esac
    mkdir -p "$place"
    # One reading: the same bytes are summed and unpacked. The sum decides, so that a damaged file is named as such.
    if ! { tee >(sha256sum >"$RUN/sum.tmp" && mv "$RUN/sum.tmp" "$RUN/sum") <"$file" | zstd -dcq 2>"$RUN/zstd.error" | tar -x -C "$place" 2>"$RUN/tar.error"; }; then
      if [ -s "$RUN/tar.error" ] && ! [ -s "$RUN/zstd.error" ] && (cd "$from" && grep " [ *]$name\$" SHA256SUMS | sha256sum -c --status -); then
        say "$name of backup $1 could not be unpacked into $place: $(one_line <"$RUN/tar.error")"
      else
        say "backups/$1/$name is damaged: $(cat "$RUN/zstd.error" "$RUN/tar.error" | one_line)"
      fi
      return 1
    fi
    while [ ! -e "$RUN/sum" ]; do sleep 0.02; done
    got=$(cut -d ' ' -f 1 "$RUN/sum")
    rm -f "$RUN/sum"
    if [ "$got" != "$wanted" ]; then
      say "backups/$1/$name is damaged: its checksum is not the one in SHA256SUMS"
      return 1
    fi
  done
  (cd "$from" && grep ' [ *]backup_manifest$' SHA256SUMS | sha256sum -c --status - 2>/dev/null) || {
    say "backups/$1/backup_manifest is damaged: its checksum is not the one in SHA256SUMS"
    return 1
  }
  cp "$from/backup_manifest" "$to/backup_manifest"
}

# build ID FOLDER: the data directory of a backup; an incremental one is put together with those before it.
build() {
  local id=$1 to=$2 chain part parts=()
  chain=$(chain_of "$id") || { say "backup $id needs others that are not there: $(backup_value "$id" parent)"; return 1; }
  if [ "$chain" = "$id" ]; then
    say "Unpacks backup $id ($(size_text "$(backup_value "$id" cluster_bytes)"))" >&3
    extract "$id" "$to" || return 1
  else
    for part in $chain; do
      say "Unpacks backup $part" >&3
      extract "$part" "$to.parts/$part" || return 1
      # pg_combinebackup wants either no tablespaces or links; folders inside need no map.
      : >"$RUN/empty"
      rm -f "$to.parts/$part/tablespace_map"
      parts+=("$to.parts/$part")
    done
    say "Puts ${#parts[@]} backups together" >&3
    pg_combinebackup -N "${parts[@]}" -o "$to" 2>"$RUN/combine.error" || { say "the backups $chain could not be put together: $(one_line <"$RUN/combine.error")"; return 1; }
    rm -rf "$to.parts"
  fi
  rm -f "$to/tablespace_map"
  chmod 0700 "$to"
}

control_value() { sed -n "s/^$2: *//p" "$RUN/control"; }

# start_restore_server FOLDER [ARGS]: on a socket only; nothing of it reaches outside, whatever the restored settings say.
start_restore_server() {
  local data=$1
  shift
  pg_controldata -D "$data" >"$RUN/control"
  printf 'local all all trust\n' >"$RUN/hba.conf"
  : >"$RUN/server.log"
  # Without the drill's lock: it would outlive a drill that was killed.
  ( [ -z "${DRILL_LOCK:-}" ] || exec {DRILL_LOCK}>&-
    REPOSITORY=$REPOSITORY RUN=$RUN PGSSLROOTCERT='' PGPASSFILE='' exec postgres -D "$data" \
    -c listen_addresses= -c "unix_socket_directories=$RUN" -c port=5432 -c "hba_file=$RUN/hba.conf" -c ident_file= -c ssl=off \
    -c archive_mode=off -c synchronous_standby_names= -c primary_conninfo= -c primary_slot_name= -c hot_standby=off \
    -c shared_preload_libraries= -c logging_collector=off -c log_destination=stderr -c log_statement=none \
    -c log_min_error_statement=panic -c recovery_init_sync_method=syncfs -c log_min_duration_statement=-1 -c max_wal_senders=0 -c max_slot_wal_keep_size=-1 \
    -c "max_connections=$(control_value '' 'max_connections setting')" \
    -c "max_prepared_transactions=$(control_value '' 'max_prepared_xacts setting')" \
    -c "max_locks_per_transaction=$(control_value '' 'max_locks_per_xact setting')" \
    -c "max_worker_processes=$(control_value '' 'max_worker_processes setting')" \
    -c "restore_command=\"$here/fetch-wal\" \"%f\" \"%p\"" -c recovery_target_action=promote "$@" >"$RUN/server.log" 2>&1) &
  RESTORE_SERVER=$!
}

local_psql() { PGHOST=$RUN PGPORT=5432 PGSSLMODE=disable PGUSER=$RESTORE_USER psql -XAtqw -v ON_ERROR_STOP=1 -F '|' "$@"; }

# Until the server takes connections, which it does at the end of recovery; fails when it ends before.
await_recovered() {
  local shown='' fetched last=0
  until local_psql -d template1 -c 'SELECT 1' >"$RUN/answer" 2>&1; do
    if ! kill -0 "$RESTORE_SERVER" 2>/dev/null; then
      wait "$RESTORE_SERVER" 2>/dev/null || true
      RESTORE_SERVER=
      return 1
    fi
    case $(cat "$RUN/answer") in
      *'role "'*'does not exist'* | *'is not permitted to log in'*) return 1 ;;
    esac
    fetched=$(cat "$RUN/fetched" 2>/dev/null || true)
    if [ "$fetched" != "$shown" ] && [ "$(($(date +%s) - last))" -ge 5 ]; then
      say "Replays WAL: $fetched" >&3
      shown=$fetched last=$(date +%s)
    fi
    sleep 0.1
  done
}

recovery_failure() {
  if [ -s "$RUN/fetch.error" ]; then
    cat "$RUN/fetch.error"
  else
    grep -E 'FATAL|PANIC|ERROR|WARNING' "$RUN/server.log" | tail -n 3 | one_line
  fi
}

# choose_backup LINEAGE TEST: the newest whole backup on a lineage that passes; a function gets its id.
choose_backup() {
  local lines=$1 test=$2 i id
  for ((i = ${#BACKUPS[@]} - 1; i >= 0; i--)); do
    id=${BACKUPS[i]}
    on_lineage "$id" "$lines" && chain_of "$id" >/dev/null || continue
    if "$test" "$id"; then
      printf '%s' "$id"
      return 0
    fi
  done
  return 1
}

any_backup() { :; }
ended_before() { [[ ! "$(date -u -d "$(backup_value "$1" ended)" +%s%N)" -gt $TARGET_NANOSECONDS ]]; }
stopped_before() { [ "$(lsn_number "$(backup_value "$1" stop_lsn)")" -le "$TARGET_LSN" ]; }
before_xid() { [ -n "$(backup_value "$1" next_xid)" ] && [ "$(backup_value "$1" next_xid)" -le "$TARGET_XID" ]; }

# restore_to FOLDER KIND VALUE BACKUP TIMELINE [SQL...]: everything but the command's own arguments; the drill uses it too.
# Sets RESTORED_LSN, RESTORED_TIME, RESTORED_TIMELINE, RESTORED_BACKUP and leaves the server running.
restore_to() {
  local into=$1 kind=$2 value=$3 backup=$4 timeline=$5 lines id status received received_at target=() row message latest=no
  local work=$into/.pgbackup data entry history
  status=$(cat "$REPOSITORY/state/status.conf" 2>/dev/null || true)
  received=$(sed -n 's/^received_lsn=//p' <<<"$status")
  received_at=$(sed -n 's/^received_at=//p' <<<"$status")
  load_catalogue
  [ ${#BACKUPS[@]} -gt 0 ] || fail "There is no backup in the repository $REPOSITORY." "take one: pgbackup now."
  if [ -n "$backup" ]; then
    [ -n "$(backup_value "$backup" id)" ] || outside "There is no backup $backup."
  fi
  case $kind in
    time)
      TARGET_NANOSECONDS=$(date -u -d "$value" +%s%N 2>/dev/null) || fail "\"$value\" is not a time." "write it like 2026-11-25 12:00:00+00; without a zone it is UTC."
      value=$(date -u -d "$value" '+%Y-%m-%d %H:%M:%S.%6N+00')
      timeline=${timeline:-$(timeline_at $((TARGET_NANOSECONDS / 1000000000)))}
      ;;
    name)
      row=$(awk -F '|' -v name="$value" '{ rest = $0; sub(/^[^|]*\|[^|]*\|/, "", rest); if (rest == name) { print $1 " " $2; exit } }' "$REPOSITORY/state/restore-points" 2>/dev/null || true)
      if [ -n "$row" ]; then
        TARGET_LSN=$(lsn_number "${row% *}")
        timeline=${timeline:-$(timeline_at "$(epoch "${row#* }")")}
      elif [ -z "$backup" ]; then
        outside "There is no restore point \"$value\". Known: $(cut -d '|' -f 3- "$REPOSITORY/state/restore-points" 2>/dev/null | head -n 20 | paste -sd ',' - | sed 's/,/, /g')."
      fi
      ;;
    lsn)
      [[ $value =~ ^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$ ]] || fail "\"$value\" is not a position in the WAL." "write it like 0/3000158."
      TARGET_LSN=$(lsn_number "$value")
      ;;
    xid)
      [[ $value =~ ^[0-9]+$ ]] || fail "\"$value\" is not a transaction's number." "write it in digits."
      TARGET_XID=$value
      ;;
  esac
  timeline=${timeline:-$(current_timeline)}
  lines=$(lineage "$timeline")
  case $kind in
    time)
      id=$(choose_backup "$lines" ended_before) || outside "No backup of timeline $timeline ended before $value."
      if [ "$timeline" = "$(current_timeline)" ] && [ -n "$received_at" ] && [ "$TARGET_NANOSECONDS" -gt "$(date -u -d "$received_at" +%s%N)" ]; then
        outside "$value is after the newest point that can be restored."
      fi
      target=(-c "recovery_target_time=$value")
      ;;
    name)
      if [ -z "$backup" ]; then id=$(choose_backup "$lines" stopped_before) || outside "No backup ended before the restore point \"$value\"."; fi
      target=(-c "recovery_target_name=$value")
      ;;
    lsn)
      id=$(choose_backup "$lines" stopped_before) || outside "No backup ended before $value."
      target=(-c "recovery_target_lsn=$value")
      ;;
    xid)
      id=$(choose_backup "$lines" before_xid) || outside "No backup ended before transaction $value."
      target=(-c "recovery_target_xid=$value")
      ;;
    latest)
      id=$(choose_backup "$lines" any_backup) || outside "No backup leads to timeline $timeline."
      latest=yes
      ;;
  esac
  if [ -n "$backup" ]; then
    on_lineage "$backup" "$lines" || outside "Backup $backup does not lead to timeline $timeline."
    chain_of "$backup" >/dev/null || outside "Backup $backup needs others that are not there."
    case $kind in
      time) ended_before "$backup" || outside "Backup $backup ended only at $(backup_value "$backup" ended), after $value." ;;
      lsn) stopped_before "$backup" || outside "Backup $backup ended only at $(backup_value "$backup" stop_lsn), after $value." ;;
    esac
    id=$backup
  fi
  [ "$(backup_value "$id" server_version | sed 's/[^0-9].*//')" = "$(server_major)" ] || fail \
    "Backup $id is of PostgreSQL $(backup_value "$id" server_version), this image has $(server_major)." "restore it with the image of its own major version."
  RESTORE_USER=${SUPERUSER:-$(backup_value "$id" superuser)}
  RESTORE_USER=${RESTORE_USER:-postgres}
  RESTORED_BACKUP=$id

  # The folder carries its mark from before the first file until the last check; only such a one is ever emptied.
  mkdir -p "$into" 2>/dev/null || fail "The folder $into can't be made." "see who owns the folder around it."
  if [ -e "$into/restore-unfinished" ]; then
    say "An earlier restore into $into did not finish; begins afresh" >&3
    find "$into" -mindepth 1 -maxdepth 1 ! -name restore-unfinished ! -name lost+found -exec rm -rf {} +
  elif [ -n "$(find "$into" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit)" ]; then
    fail "The folder $into is not empty. Nothing was changed." "name an empty folder or a new one."
  fi
  echo "$id" >"$into/restore-unfinished" && sync "$into/restore-unfinished" || fail "The folder $into can't be written to." "see that it has room and belongs to user $(id -un)."
  # The data directory lies in a folder of its own until it is whole, so that no server starts on half of one.
  data=$work/data
  mkdir -p "$work"
  rm -f "$RUN/fetched" "$RUN/fetch.error"
  message=$(build "$id" "$data") || fail "The restore failed: $message" "pgbackup verify names all that is damaged; an older backup may do (--backup)."
  # Settings of an earlier recovery would be added to this one's.
  sed -i -E '/^(recovery_|restore_command|primary_|archive_cleanup_command)/d' "$data/postgresql.auto.conf"
  : >"$data/recovery.signal"
  say "Replays WAL on timeline $timeline to $([ "$kind" = latest ] && echo "the newest point" || echo "$kind $value")" >&3
  start_restore_server "$data" -c "recovery_target_timeline=$timeline" "${target[@]}"
  if ! await_recovered; then
    if [ "$kind" = time ] && ! [ -s "$RUN/fetch.error" ] && grep -q 'recovery ended before configured recovery target was reached' "$RUN/server.log"; then
      # Nothing was committed between the target and the end of the WAL, which the check below proves to be whole.
      say "No transaction after $value: goes to the end of the WAL" >&3
      latest=yes
      start_restore_server "$data" -c "recovery_target_timeline=$timeline"
      await_recovered || fail "The restore failed: $(recovery_failure)" "pgbackup verify names all that is damaged or missing."
    else
      message=$(recovery_failure)
      case $message in
        *'recovery ended before configured recovery target'*)
          fail "The restore failed: the WAL in the repository ends before $kind $value.
$(window_text)" "choose an earlier point; pgbackup verify tells whether WAL is damaged or missing."
          ;;
      esac
      fail "The restore failed: ${message:-the server ended without a word}" "pgbackup verify names all that is damaged or missing."
    fi
  fi
  for entry in "$data"/pg_wal/*.history; do history=$entry; done
  [ -n "${history:-}" ] || fail "The restored server has no new timeline." "run it again; it begins afresh."
  RESTORED_TIMELINE=$((16#$(basename "$history" .history)))
  RESTORED_LSN=$(awk '$1 ~ /^[0-9]+$/ { lsn = $2 } END { print lsn }' "$history")
  RESTORED_TIME=$(local_psql -d template1 -c "SELECT to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')" || true)
  # Where no transaction followed the backup, its own end is what was restored.
  RESTORED_TIME=${RESTORED_TIME:-$(backup_value "$id" ended)}
  if [ "$latest" = yes ] && [ "$timeline" = "$(sed -n 's/^timeline=//p' <<<"$status")" ] && [ -n "$received" ] &&
    [ "$(lsn_number "$RESTORED_LSN")" -lt "$(lsn_floor "$received")" ]; then
    fail "The restore ended too early: at $RESTORED_LSN, while the repository has received all up to $received ($received_at). The WAL between is damaged: ${RESTORED_LSN} is in $(cat "$RUN/fetched" 2>/dev/null)." \
      "pgbackup verify names the file; the off-host copy may have it whole."
  fi
  if [ "$latest" = no ] && ! grep -q 'recovery stopping' "$RUN/server.log"; then
    fail "The restore ended without reaching $kind $value, at $RESTORED_LSN." "pgbackup verify names all that is damaged or missing."
  fi
}

# Stops the server cleanly and puts the data directory in its place.
finish_restore() {
  local into=$1 data=$1/.pgbackup/data entry
  kill -INT "$RESTORE_SERVER"
  wait "$RESTORE_SERVER" || fail "The restored server did not stop cleanly: $(tail -n 3 "$RUN/server.log" | one_line)" "run it again; it begins afresh."
  RESTORE_SERVER=
  [ "$(pg_controldata -D "$data" | sed -n 's/^Database cluster state: *//p')" = 'shut down' ] || fail "The restored data directory is not in order." "run it again; it begins afresh."
  rm -f "$data/postmaster.opts" "$data/backup_label.old" "$data/backup_manifest"
  for entry in "$data"/* "$data"/.[!.]*; do
    case ${entry##*/} in PG_VERSION) ;; *) mv "$entry" "$into/" ;; esac
  done
  sync "$into"
  # Without this one no server starts.
  mv "$data/PG_VERSION" "$into/"
  rmdir "$data" "$into/.pgbackup"
  sync "$into"
  rm -f "$into/restore-unfinished"
  sync "$into"
}

restore_command() {
  local into='' backup='' kind='' value='' timeline='' sql=() file text
  one_target() { [ -z "$kind" ] || fail "More than one target was given." "give one of --target-time, --target-name, --target-lsn, --target-xid and latest."; }
  while [ $# -gt 0 ]; do
    case $1 in
      latest) one_target; kind=latest ;;
      --into | --backup | --target-time | --target-name | --target-lsn | --target-xid | --timeline | --sql)
        [ $# -ge 2 ] || fail "$1 needs a value." "pgbackup help"
        case $1 in
          --into) into=$2 ;;
          --backup) backup=$2 ;;
          --timeline) [[ $2 =~ ^[0-9]+$ ]] || fail "\"$2\" is not a timeline." "write it in digits."; timeline=$2 ;;
          --sql) sql+=("$2") ;;
          *) one_target; kind=${1#--target-} value=$2 ;;
        esac
        shift
        ;;
      *) fail "pgbackup restore does not know: $1" "pgbackup help" ;;
    esac
    shift
  done
  into=${into:-${RESTORE_DIR:-}}
  [ -n "$into" ] || fail "Where to restore to was not given." "--into FOLDER"
  kind=${kind:-latest}
  [ -d "$REPOSITORY/backups" ] || fail "There is no repository in $REPOSITORY." "mount it there."
  RUN=$RUN/restore-$$
  mkdir -p "$RUN"
  exec 3>&1
  trap 'stop_restore_server; rm -rf "$RUN"' EXIT
  trap 'exit 130' INT TERM
  # Standard input is read before anything else might.
  for file in "${sql[@]}"; do
    if [ "$file" = - ]; then cat >"$RUN/stdin.sql"; else [ -r "$file" ] || fail "The file $file can't be read." "name one that is there."; fi
  done
  restore_to "$into" "$kind" "$value" "$backup" "$timeline"
  for file in "${sql[@]}"; do
    say "Runs SQL in the restored database"
    if [ "$file" = - ]; then file=$RUN/stdin.sql; fi
    text=$(local_psql -d "${PGDATABASE:-$(backup_value "$RESTORED_BACKUP" database)}" -f "$file" 2>&1 >/dev/null) || fail \
      "SQL in the restored database failed: $(grep -E 'ERROR|FATAL|error' <<<"$text" | head -n 3 | sed "s|$RUN/stdin.sql|standard input|" | one_line)" "mend it and run it again; the restore begins afresh."
  done
  finish_restore "$into"
  say "restored_to_lsn=$RESTORED_LSN restored_to_time=$RESTORED_TIME timeline=$RESTORED_TIMELINE"
}
