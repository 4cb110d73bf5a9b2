# The drill: the newest backup and all WAL after it become a server, which is looked at and thrown away.

# Makes a count of every table, and runs it.
COUNTS="SELECT format('SELECT count(*) FROM ONLY %I.%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'm') AND relpersistence = 'p' AND (relkind = 'r' OR relispopulated) ORDER BY 1 \\gexec"

# Everything that can fail. Ends with the lines of a result in $RUN/result.
drill_work() {
  local folder=$SCRATCH/drill began=$EPOCHREALTIME restored answer beat beat_lsn database tables rows t r text checks='' received_at
  beat=$(conf_value "$REPOSITORY/state/status.conf" heartbeat_at)
  received_at=$(conf_value "$REPOSITORY/state/status.conf" received_at)
  trap 'stop_restore_server' EXIT
  rm -rf "$folder"
  restore_to "$folder" latest '' '' ''
  restored=$(awk -v from="$began" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }')
  {
    echo "backup=$RESTORED_BACKUP"
    echo "newest_restorable=${received_at:-$RESTORED_TIME}"
    echo "rto_seconds=$restored"
  } >"$RUN/result"
  if [ -n "$beat" ]; then
    # The row that was written last, and confirmed: the LSN alone would prove the WAL, not the data.
    answer=$(local_psql -d "$(backup_value "$RESTORED_BACKUP" database)" -c "SELECT at >= '$beat' FROM backups.heartbeat" 2>&1) || true
    [ "$answer" = t ] || fail "The restored database lacks the heartbeat of $beat: $answer"
    checks+="heartbeat of $beat found; "
  fi
  say "Checks tables and indexes (pg_amcheck)" >&3
  text=$(PGHOST=$RUN PGPORT=5432 PGSSLMODE=disable PGUSER=$RESTORE_USER pg_amcheck -w --all --install-missing -j 2 --maintenance-db template1 2>&1) ||
    fail "pg_amcheck found damage: $(head -n 5 <<<"$text" | one_line)"
  checks+="pg_amcheck: no damage; "
  say "Counts the rows of every table" >&3
  tables=0 rows=0
  while IFS= read -r database; do
    text=$(local_psql -d "$database" 2>&1 <<<"$COUNTS") || fail "A table of database \"$database\" can't be read: $(tail -n 2 <<<"$text" | one_line)"
    read -r t r <<<"$(awk '{ rows += $1 } END { printf "%d %.0f", NR, rows }' <<<"$text")"
    tables=$((tables + t)) rows=$((rows + r))
  done < <(local_psql -d template1 -c 'SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1')
  checks+="$tables tables with $rows rows read; "
  if [ -n "$DRILL_QUERY" ]; then
    say "Asks the team's own query" >&3
    text=$(PGOPTIONS='-c default_transaction_read_only=on' local_psql -d "$(backup_value "$RESTORED_BACKUP" database)" -f "$DRILL_QUERY" 2>&1) || fail "The drill's query failed: $(one_line <<<"$text")"
    case $(tail -n 1 <<<"$text") in
      t | true) checks+="the query is true; " ;;
      *) fail "The drill's query returned \"$(tail -n 1 <<<"$text")\", not true" ;;
    esac
  fi
  kill -INT "$RESTORE_SERVER"
  wait "$RESTORE_SERVER" || fail "The restored server did not stop cleanly"
  RESTORE_SERVER=
  if [ "$(pg_controldata -D "$folder/.pgbackup/data" | sed -n 's/^Data page checksum version: *//p')" != 0 ]; then
    say "Checks the checksum of every page (pg_checksums)" >&3
    text=$(pg_checksums --check -D "$folder/.pgbackup/data" 2>&1) || fail "pg_checksums found damage: $(head -n 5 <<<"$text" | one_line)"
    checks+="page checksums right; "
  fi
  echo "checks=${checks%; }" >>"$RUN/result"
  echo "summary=backup $RESTORED_BACKUP and its WAL to ${received_at:-$RESTORED_TIME}: restored in $restored s, $tables tables with $rows rows read, no damage" >>"$RUN/result"
}

# drill_once: prints the result, records it, fails where the drill did.
drill_once() {
  local started id began=$EPOCHREALTIME seconds ok=yes message rpo at result
  exec {DRILL_LOCK}>"$SCRATCH/lock"
  flock "$DRILL_LOCK"
  mkdir -p "$SCRATCH/results"
  started=$(now_iso)
  id=$(date -u -d "$started" +%Y%m%dT%H%M%SZ)
  : >"$RUN/result"
  at=$(conf_value "$REPOSITORY/state/status.conf" received_at)
  rpo=
  [ -z "$at" ] || rpo=$(awk -v now="$EPOCHREALTIME" -v at="$(date -u -d "$at" +%s.%N)" 'BEGIN { d = now - at; if (d < 0) d = 0; printf "%.1f", d }')
  (drill_work) 2>"$RUN/drill.error" || ok=no
  if [ "$ok" = yes ]; then
    message="passed: $(conf_value "$RUN/result" summary)${rpo:+; $rpo s behind}"
  else
    message="failed: $(grep -v '^What to do' "$RUN/drill.error" | one_line)"
  fi
  rm -rf "$SCRATCH/drill"
  seconds=$(awk -v from="$began" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }')
  result=$SCRATCH/results/$id.conf
  cat >"$result" <<CONF
started=$started
ended=$(now_iso)
seconds=$seconds
ok=$ok
backup=$(conf_value "$RUN/result" backup)
newest_restorable=$(conf_value "$RUN/result" newest_restorable)
rpo_seconds=$rpo
rto_seconds=$(conf_value "$RUN/result" rto_seconds)
message=$message
checks=$(conf_value "$RUN/result" checks)
CONF
  DRILL_RESULT=$result
  record_drills
  [ "$ok" = yes ]
}

# Results that the server does not have yet: it may have been down. The backup container copies them to the repository.
record_drills() {
  local file files sql
  files=("$SCRATCH"/results/*.conf)
  for file in "${files[@]}"; do
    if [ -d "$REPOSITORY/state/drills" ] && [ -w "$REPOSITORY/state/drills" ]; then write_file "$REPOSITORY/state/drills/${file##*/}" <"$file" || true; fi
    [ ! -e "${file%.conf}.recorded" ] || continue
    sql="INSERT INTO backups.drill (id, started, ended, seconds, ok, backup, newest_restorable, rpo_seconds, rto_seconds, message, checks) VALUES (:'id', :'started', :'ended', :'seconds', :'ok', nullif(:'backup', ''), nullif(:'newest_restorable', '')::timestamptz, nullif(:'rpo_seconds', '')::numeric, nullif(:'rto_seconds', '')::numeric, :'message', :'checks') ON CONFLICT DO NOTHING"
    PGAPPNAME=pgbackup psql -XAtqw -v ON_ERROR_STOP=1 -v "id=$(basename "$file" .conf)" \
      -v "started=$(conf_value "$file" started)" -v "ended=$(conf_value "$file" ended)" -v "seconds=$(conf_value "$file" seconds)" \
      -v "ok=$(conf_value "$file" ok)" -v "backup=$(conf_value "$file" backup)" -v "newest_restorable=$(conf_value "$file" newest_restorable)" \
      -v "rpo_seconds=$(conf_value "$file" rpo_seconds)" -v "rto_seconds=$(conf_value "$file" rto_seconds)" \
      -v "message=$(conf_value "$file" message)" -v "checks=$(conf_value "$file" checks)" <<<"$sql;" >/dev/null 2>"$RUN/record.error" && : >"${file%.conf}.recorded" ||
      say "The result could not be written to table backups.drill yet: $(one_line <"$RUN/record.error")" >&2
  done
  for ((i = 0; i < ${#files[@]} - 20; i++)); do rm -f "${files[i]}" "${files[i]%.conf}.recorded"; done
}

# Since when the next one is due, in seconds since 1970.
drill_due() {
  local files=("$SCRATCH"/results/*.conf) last=''
  if [ ${#files[@]} -gt 0 ]; then last=${files[-1]}; else last=$(last_drill); fi
  if [ -z "$last" ]; then echo 0; else echo $(($(epoch "$(conf_value "$last" started)") + DRILL_EVERY)); fi
}

drill_command() {
  local once=no json=no unrecorded
  while [ $# -gt 0 ]; do
    case $1 in
      --now) once=yes ;;
      --json) once=yes json=yes ;;
      *) fail "pgbackup drill does not know: $1" "pgbackup drill [--now]" ;;
    esac
    shift
  done
  [ -d "$SCRATCH" ] && [ -w "$SCRATCH" ] || fail "The folder $SCRATCH for the drill's server is missing or can't be written to." "mount a volume there."
  if [ "$json" = yes ]; then exec 3>&2; else exec 3>&1; fi
  if [ "$once" = yes ]; then
    RUN=$RUN/drill-$$
    mkdir -p "$RUN"
    trap 'rm -rf "$RUN"' EXIT
    # The work in the background of this shell ends with it.
    trap 'kill 0; exit 130' INT TERM
    local code=0
    drill_once || code=1
    if [ "$json" = yes ]; then
      json_drill "$DRILL_RESULT"
      echo
    else
      say "The drill $(conf_value "$DRILL_RESULT" message)"
      [ -z "$(conf_value "$DRILL_RESULT" checks)" ] || say "Checks: $(conf_value "$DRILL_RESULT" checks)"
    fi
    exit $code
  fi
  echo $$ >"$RUN/drill-daemon"
  RUN=$RUN/daemon
  # The results are looked for before the first drill, too: a new volume has none, and what can be restored may take hours.
  mkdir -p "$RUN" "$SCRATCH/results"
  trap 'trap - TERM; kill 0; exit 0' TERM INT
  say "Proves a restore every $(age_text "$DRILL_EVERY")"
  while :; do
    load_catalogue
    if [ "$DRILL_EVERY" -gt 0 ] && [ ${#BACKUPS[@]} -gt 0 ] && [ "$(date +%s)" -ge "$(drill_due)" ]; then
      (drill_once) || true
      say "The drill $(conf_value "$(printf '%s\n' "$SCRATCH"/results/*.conf | tail -n 1)" message)"
    fi
    # Only where one is left that the server did not take.
    unrecorded=$(find "$SCRATCH/results" -name '*.conf' 2>/dev/null | while read -r f; do [ -e "${f%.conf}.recorded" ] || echo "$f"; done)
    [ -z "$unrecorded" ] || record_drills 2>/dev/null || true
    sleep "${DRILL_POLL:-30}" &
    wait $! || true
  done
}
