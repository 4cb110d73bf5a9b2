# The daemon of the backup container: keeps pg_receivewal going, compresses what is full, writes the heartbeat and the
# status, and takes base backups when they are due.

declare -A STATUS=()
CHILDREN=()

note() { printf '%s\n' "$*" >"$RUN/$NOTES.tmp" && mv "$RUN/$NOTES.tmp" "$RUN/$NOTES"; }
noted() { cat "$RUN/$1" 2>/dev/null || true; }

make_folders() {
  local folder
  for folder in backups wal receiving state state/drills; do
    mkdir -p "$REPOSITORY/$folder" 2>/dev/null || fail "The repository $REPOSITORY can't be written to by user $(id -un)." \
      "see that its volume or folder is there, has room, and belongs to user id $(id -u)."
  done
  [ -e "$REPOSITORY/FORMAT" ] || echo 1 >"$REPOSITORY/FORMAT"
  [ "$(cat "$REPOSITORY/FORMAT")" = 1 ] || fail "The repository has format $(cat "$REPOSITORY/FORMAT"), this program knows format 1." \
    "use the program of the version that wrote it."
}

# Sets IDENTIFIER and TIMELINE, or prints what is wrong and fails.
identify() {
  local row known
  row=$(PGAPPNAME=pgbackup psql -XAtw -F ' ' -d 'replication=true' -c IDENTIFY_SYSTEM 2>&1) || {
    one_line <<<"$row"
    return 1
  }
  read -r IDENTIFIER TIMELINE _ <<<"$row"
  known=$(cat "$REPOSITORY/system-identifier" 2>/dev/null) || known=
  if [ -z "$known" ]; then
    echo "$IDENTIFIER" | write_file "$REPOSITORY/system-identifier" || { say "there is no room in the repository"; return 1; }
    query 'SELECT setting FROM pg_settings WHERE name = '"'wal_segment_size'" >"$RUN/segment" || { say "the server did not answer"; return 1; }
    write_file "$REPOSITORY/wal-segment-size" <"$RUN/segment" || { say "there is no room in the repository"; return 1; }
  elif [ "$known" != "$IDENTIFIER" ]; then
    say "The repository has the backups of cluster $known, the server at $PGHOST:$PGPORT is cluster $IDENTIFIER. Nothing was received. Give the new cluster a repository of its own, or restore the old one"
    return 1
  fi
}

# Compresses one file of receiving/ into wal/, and removes it there once the other is on disk.
archive_segment() {
  local name=$1 to
  to=$REPOSITORY/wal/$name.zst
  if zstd -q -1 -f "$REPOSITORY/receiving/$name" -o "$REPOSITORY/wal/.tmp-$name" 2>"$RUN/archive.error" &&
    sync "$REPOSITORY/wal/.tmp-$name" && mv "$REPOSITORY/wal/.tmp-$name" "$to" && sync "$REPOSITORY/wal"; then
    rm -f "$REPOSITORY/receiving/$name"
    case $name in
      *.partial) ;;
      *) rm -f "$to.partial.zst" "${to%.zst}.partial.zst" ;;
    esac
    return 0
  fi
  rm -f "$REPOSITORY/wal/.tmp-$name"
  say "receiving/$name could not be compressed: $(one_line <"$RUN/archive.error")"
  return 1
}

archive_history() {
  local name=$1
  cp "$REPOSITORY/receiving/$name" "$REPOSITORY/wal/.tmp-$name" && sync "$REPOSITORY/wal/.tmp-$name" &&
    mv "$REPOSITORY/wal/.tmp-$name" "$REPOSITORY/wal/$name" && rm -f "$REPOSITORY/receiving/$name"
}

# What is closed. A timeline's history comes first: without it, nobody could tell where its WAL belongs.
archive_closed() {
  local file
  for file in "$REPOSITORY"/receiving/*.history; do archive_history "${file##*/}" || return 1; done
  for file in "$REPOSITORY"/receiving/*; do
    [[ ${file##*/} =~ ^[0-9A-F]{24}$ ]] || continue
    archive_segment "${file##*/}" || return 1
  done
}

archive_loop() {
  local message
  NOTES=archive.note
  rm -f "$REPOSITORY"/wal/.tmp-*
  while :; do
    if message=$(archive_closed 2>&1); then
      note ""
      sleep 0.5
    else
      note "$(one_line <<<"$message")"
      sleep "$BACKUP_POLL"
    fi
  done
}

# Puts what is left of an interrupted stream away, so that pg_receivewal begins where the slot does.
archive_all() {
  local file
  archive_closed || return 1
  for file in "$REPOSITORY"/receiving/*.partial; do archive_segment "${file##*/}" || return 1; done
}

# Before each start of pg_receivewal: the right cluster, the slot, nothing in the way. Says what is wrong.
prepare_streaming() {
  local state file size last since
  identify || return 1
  size=$(segment_size)
  for file in "$REPOSITORY"/receiving/*.partial; do
    # pg_receivewal fills a new file with zeros before it writes to it: a shorter one has nothing in it.
    if [ "$(stat -c %s "$file")" != "$size" ]; then rm -f "$file"; fi
  done
  last=$(tail -n 1 "$REPOSITORY/state/timelines" 2>/dev/null || true)
  if [ "${last%% *}" != "$TIMELINE" ]; then
    since=$(now_iso)
    [ -z "$last" ] || say "The server is on timeline $TIMELINE, before it was $last" >&2
    printf '%s %s\n' "$TIMELINE" "$since" >>"$REPOSITORY/state/timelines" && sync "$REPOSITORY/state/timelines" || {
      say "there is no room in the repository"
      return 1
    }
    archive_all || return 1
  fi
  state=$(query "SELECT coalesce(wal_status, 'new') FROM pg_replication_slots WHERE slot_name = :'slot'" 2>&1) || {
    one_line <<<"$state"
    return 1
  }
  if [ "$state" = lost ]; then
    say "Slot $BACKUP_SLOT is lost: the server has removed WAL that was not received; it is made again" >&2
    query "SELECT pg_drop_replication_slot(:'slot')" >/dev/null || return 1
    state=
  fi
  if [ -z "$state" ]; then
    archive_all || return 1
    pg_receivewal -w --create-slot --if-not-exists --slot "$BACKUP_SLOT" 2>&1 || return 1
  fi
}

receive_loop() {
  local message child
  NOTES=receive.note
  while :; do
    if ! message=$(prepare_streaming); then
      note "$(one_line <<<"$message")"
      sleep "$BACKUP_POLL"
      continue
    fi
    : >"$RUN/streaming-began"
    PGAPPNAME=$BACKUP_SLOT pg_receivewal -w --directory "$REPOSITORY/receiving" --slot "$BACKUP_SLOT" --synchronous \
      --no-loop --status-interval 5 2>"$RUN/receive.error" &
    child=$!
    trap 'kill -INT "$child" 2>/dev/null; wait "$child" 2>/dev/null; exit 0' TERM INT
    wait "$child" || true
    message=$(one_line <"$RUN/receive.error")
    note "${message:-the stream has ended}"
    say "pg_receivewal: ${message:-the stream has ended}"
    case $message in
      # What is left in receiving/ is from before the place where the slot is: it can't be gone on with.
      *"has already been removed"*) archive_all || true ;;
    esac
    sleep 1
  done
}

# One look at the server. Confirms what it said earlier once the repository has it on disk.
SAMPLE_LSN='' SAMPLE_AT='' BEAT_LSN='' BEAT_AT='' BEAT_XID='' NEXT_BEAT=0 HAVE_TABLES=no
look() {
  # A physical slot's restart_lsn is what its receiver has reported to be on disk.
  local flushed insert at slot timeline active flushed_number key
  ask "SELECT coalesce(s.restart_lsn::text, ''), pg_current_wal_insert_lsn(), to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), coalesce(s.wal_status, 'missing'), left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), coalesce(s.active, false) FROM (SELECT) one LEFT JOIN pg_replication_slots s ON s.slot_name = :'slot'" || return 1
  IFS='|' read -r flushed insert at slot timeline active <<<"$ANSWER"
  STATUS[slot_state]=$slot
  timeline=$((16#$timeline))
  if [ "${STATUS[timeline]:-$timeline}" != "$timeline" ]; then
    # After a restore: positions of another timeline say nothing on this one, where the same ones come again.
    SAMPLE_LSN='' BEAT_LSN='' NEXT_BEAT=0
    for key in received_lsn received_at heartbeat_at heartbeat_xid heartbeat_lsn; do STATUS[$key]=; done
  fi
  STATUS[timeline]=$timeline
  STATUS[state]=connecting
  if [ "$active" = t ] && [ -n "$flushed" ]; then
    STATUS[state]=streaming
    flushed_number=$(lsn_number "$flushed")
    if [ -n "$SAMPLE_LSN" ] && [ "$flushed_number" -ge "$(lsn_floor "$SAMPLE_LSN")" ]; then
      STATUS[received_lsn]=$SAMPLE_LSN
      STATUS[received_at]=$SAMPLE_AT
      SAMPLE_LSN=
    fi
    if [ -n "$BEAT_LSN" ] && [ "$flushed_number" -ge "$(lsn_floor "$BEAT_LSN")" ]; then
      STATUS[heartbeat_lsn]=$BEAT_LSN
      STATUS[heartbeat_at]=$BEAT_AT
      STATUS[heartbeat_xid]=$BEAT_XID
      BEAT_LSN=
    fi
  fi
  if [ -z "$SAMPLE_LSN" ]; then SAMPLE_LSN=$insert SAMPLE_AT=$at; fi
}

# One row that changes: what restores and drills look for, and on an idle server the only thing that moves.
beat() {
  local now
  now=$(date +%s)
  if [ "$HAVE_TABLES" = yes ]; then mirror_new_rows; fi
  [ "$now" -ge "$NEXT_BEAT" ] || return 0
  if [ "$HAVE_TABLES" = no ]; then
    # While the environment is being made, the schema comes later than this container.
    ask "SELECT has_schema_privilege('backups', 'CREATE') FROM pg_namespace WHERE nspname = 'backups'" || return 1
    if [ "$ANSWER" != t ]; then
      STATUS[last_error]="schema backups is not there yet in database ${PGDATABASE:-}, or role ${PGUSER:-} may make nothing in it"
      return 0
    fi
    ask "SET client_min_messages = warning; $(tables_sql)" || return 1
    HAVE_TABLES=yes
  fi
  NEXT_BEAT=$((now + HEARTBEAT_EVERY))
  ask "INSERT INTO backups.heartbeat AS h (at, xid) VALUES (clock_timestamp(), pg_current_xact_id()::text) ON CONFLICT (one) DO UPDATE SET at = excluded.at, xid = excluded.xid RETURNING to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), xid" || { HAVE_TABLES=no; return 1; }
  IFS='|' read -r BEAT_AT BEAT_XID <<<"$ANSWER"
  ask "SELECT pg_current_wal_insert_lsn()" || return 1
  BEAT_LSN=$ANSWER
  mirror_tables
}

# Whoever has just migrated may want to go back at once, and whoever has just tried a restore looks for its result: a
# new row does not wait for the next heartbeat.
MIRRORED=
mirror_new_rows() {
  ask "SELECT count(*), max(made_at), (SELECT max(id) FROM backups.drill) FROM backups.restore_point" || return 0
  [ "$ANSWER" != "$MIRRORED" ] || return 0
  MIRRORED=$ANSWER
  mirror_tables
}

# Restore points and the results of drills are kept in the repository too: it must tell them without the server.
mirror_tables() {
  local id i files
  if ask "SELECT lsn, to_char(made_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), translate(name, E'\n\r', '  ') FROM backups.restore_point ORDER BY made_at DESC LIMIT 1000"; then
    if [ "$ANSWER" != "$(cat "$REPOSITORY/state/restore-points" 2>/dev/null || true)" ]; then
      write_file "$REPOSITORY/state/restore-points" <<<"$ANSWER" || true
    fi
  fi
  if ask "SELECT id FROM backups.drill ORDER BY started DESC LIMIT 100"; then
    for id in $ANSWER; do
      [[ $id =~ ^[0-9TZ]+$ ]] || continue
      [ ! -e "$REPOSITORY/state/drills/$id.conf" ] || continue
      ask "SELECT key || '=' || translate(coalesce(value, ''), E'\n\r', '  ') FROM backups.drill d, json_each_text(json_build_object('started', to_char(started AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'ended', to_char(ended AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'seconds', seconds, 'ok', CASE WHEN ok THEN 'yes' ELSE 'no' END, 'backup', backup, 'newest_restorable', to_char(newest_restorable AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'rpo_seconds', rpo_seconds, 'rto_seconds', rto_seconds, 'message', message, 'checks', checks)) WHERE id = '$id'" || return 0
      write_file "$REPOSITORY/state/drills/$id.conf" <<<"$ANSWER" || return 0
    done
    files=("$REPOSITORY"/state/drills/*.conf)
    for ((i = 0; i < ${#files[@]} - 100; i++)); do rm -f "${files[i]}"; done
  fi
}

write_status() {
  local key
  STATUS[time]=$(now_iso)
  for key in time state timeline received_lsn received_at heartbeat_at heartbeat_xid heartbeat_lsn slot_state last_error next_base_at base_state; do
    printf '%s=%s\n' "$key" "${STATUS[$key]:-}"
  done | write_file "$REPOSITORY/state/status.conf" || true
}

# Sets BASE_DUE (seconds since 1970) and BASE_WHY.
base_due() {
  local newest
  if [ "${STATUS[state]:-}" = streaming ] && ! whole_until_now; then
    BASE_DUE=0
    if [ ${#BACKUPS[@]} = 0 ]; then BASE_WHY="there is none"; else BASE_WHY="no backup with all WAL after it leads to the newest point"; fi
    return
  fi
  load_catalogue
  # WAL without a gap may lead over from the backups of before a restore. One of the new timeline's own makes the next
  # restore short, and does not depend on the timelines before it.
  if [ "${STATUS[state]:-}" = streaming ] && [ ${#BACKUPS[@]} -gt 0 ] && ! timeline_has_backup "${STATUS[timeline]}"; then
    BASE_DUE=0 BASE_WHY="there is none of timeline ${STATUS[timeline]}"
    return
  fi
  BASE_DUE=0 BASE_WHY=schedule
  if [ ${#BACKUPS[@]} -gt 0 ]; then
    newest=${BACKUPS[-1]}
    BASE_DUE=$(($(epoch "${BACKUP["$newest started"]}") + BACKUP_EVERY))
  fi
}

run_daemon() {
  local base_pid='' base_after=0 now looked_at_wal=0 last_note='' text
  trap '' PIPE
  make_folders
  exec {DAEMON_LOCK}>"$REPOSITORY/state/daemon.lock"
  flock -n "$DAEMON_LOCK" || fail "Another backup container writes to this repository." "stop it first: docker ps shows it."
  rm -f "$RUN"/*.note "$RUN/streaming-began"
  # What it knew before it was started again holds: all of that was in the repository.
  for text in timeline received_lsn received_at heartbeat_at heartbeat_xid heartbeat_lsn; do
    STATUS[$text]=$(conf_value "$REPOSITORY/state/status.conf" "$text")
  done
  archive_loop &
  CHILDREN+=($!)
  receive_loop &
  CHILDREN+=($!)
  trap 'kill -TERM "${CHILDREN[@]}" $base_pid 2>/dev/null; wait "${CHILDREN[@]}" 2>/dev/null; session_close; exit 0' TERM INT
  say "Receives WAL of $PGHOST:$PGPORT into $REPOSITORY"
  while :; do
    now=$(date +%s)
    STATUS[last_error]=
    if look; then
      beat || STATUS[last_error]=$SESSION_ERROR
    else
      STATUS[state]=failed
      STATUS[last_error]=$SESSION_ERROR
    fi
    if [ "${STATUS[state]}" != streaming ]; then
      text=$(noted receive.note)
      if [ -n "$text" ]; then
        STATUS[last_error]=$text
        STATUS[state]=failed
      fi
    fi
    text=$(noted archive.note)
    if [ -n "$text" ]; then STATUS[last_error]=$text; fi
    if [ -n "$base_pid" ] && ! kill -0 "$base_pid" 2>/dev/null; then
      if wait "$base_pid"; then
        STATUS[base_state]=
        base_after=0
      else
        STATUS[base_state]="failed: $(tail -n 3 "$RUN/base.log" | one_line)"
        base_after=$((now + BACKUP_RETRY))
        say "The base backup failed: ${STATUS[base_state]#failed: }"
      fi
      base_pid=
      looked_at_wal=0
    fi
    # Which WAL there is changes with a new stream; else a look now and then is enough.
    if [ -z "$base_pid" ] && [ "${STATUS[state]}" = streaming ] && [ "$now" -ge "$base_after" ] &&
      { [ -e "$RUN/streaming-began" ] || [ "$now" -ge "$looked_at_wal" ]; }; then
      rm -f "$RUN/streaming-began"
      looked_at_wal=$((now + (BACKUP_EVERY < 30 ? 1 : 15)))
      base_due
      STATUS[next_base_at]=$(date -u -d "@$((BASE_DUE > now ? BASE_DUE : now))" +%Y-%m-%dT%H:%M:%SZ)
      if [ "$BASE_DUE" -le "$now" ]; then
        say "Takes a base backup: $BASE_WHY"
        STATUS[base_state]=running
        # Through a file: its output is the container's log, and the last lines are the reason of a failure.
        (
          trap - TERM INT
          take_base "$([ "$BASE_WHY" = schedule ] && echo scheduled || echo needed)" >"$RUN/base.log" 2>&1
          code=$?
          cat "$RUN/base.log"
          exit $code
        ) &
        base_pid=$!
      fi
    fi
    if [ -n "${STATUS[base_state]:-}" ] && [ "${STATUS[base_state]}" != running ]; then STATUS[last_error]="base backup ${STATUS[base_state]}"; fi
    if [ "${STATUS[last_error]}" != "$last_note" ]; then
      say "${STATUS[last_error]:-All is well again}"
      last_note=${STATUS[last_error]}
    fi
    write_status
    for text in "${CHILDREN[@]}"; do
      kill -0 "$text" 2>/dev/null || fail "A part of the backup daemon has ended." "Docker starts the container again; see its log."
    done
    sleep "$BACKUP_POLL" &
    wait $! || true
  done
}

healthy_command() {
  local status=$REPOSITORY/state/status.conf age
  if [ -e "$RUN/drill-daemon" ]; then
    kill -0 "$(cat "$RUN/drill-daemon")" 2>/dev/null || { say "the drill's daemon does not run"; exit 1; }
    exit 0
  fi
  [ -r "$status" ] || { say "no status yet"; exit 1; }
  age=$(($(date +%s) - $(stat -c %Y "$status")))
  [ "$age" -le 60 ] || { say "the status is $age s old"; exit 1; }
  [ "$(conf_value "$status" state)" = streaming ] || { say "not streaming: $(conf_value "$status" last_error)"; exit 1; }
  [ -n "$(conf_value "$status" heartbeat_at)" ] || { say "no heartbeat yet: $(conf_value "$status" last_error)"; exit 1; }
}
