# What the repository can do, for people and for programs.

# Sets OLDEST and NEWEST_POINT.
load_window() {
  local id
  OLDEST='' NEWEST_POINT=''
  load_catalogue
  for id in "${BACKUPS[@]}"; do
    chain_of "$id" >/dev/null || continue
    OLDEST=${BACKUP["$id ended"]}
    break
  done
  NEWEST_POINT=$(conf_value "$REPOSITORY/state/status.conf" received_at)
  [ -z "$OLDEST" ] || [ ! "$NEWEST_POINT" \< "$OLDEST" ] || NEWEST_POINT=$OLDEST
}

window_text() {
  load_window
  if [ -z "$OLDEST" ]; then
    echo "Nothing can be restored: there is no whole backup."
  else
    echo "Can be restored: any point from $OLDEST to $NEWEST_POINT."
  fi
}

# Lines "backup segment": WAL that is missing after a backup and before the next one.
gaps() {
  local id lines missing
  load_segments
  for id in "${BACKUPS[@]}"; do
    lines=$(lineage "${BACKUP["$id timeline"]}")
    missing=$(missing_wal "$id" "$lines")
    [ -z "$missing" ] || printf "$id %s\n" $missing
  done | sort -u -k 2,2
}

last_drill() {
  local files=("$REPOSITORY"/state/drills/*.conf)
  [ ${#files[@]} = 0 ] || printf '%s' "${files[-1]}"
}

json_list() {
  local first=yes line
  printf '['
  while IFS= read -r line; do
    [ -n "$line" ] || continue
    [ "$first" = yes ] || printf ','
    first=no
    printf '%s' "$line"
  done
  printf ']'
}

json_backup() {
  local id=$1 usable=yes
  chain_of "$id" >/dev/null || usable=no
  printf '{"id":%s,"kind":%s,"parent":%s,"started":%s,"ended":%s,"timeline":%s,"startLsn":%s,"stopLsn":%s,"startWal":%s,"serverVersion":%s,"sizeBytes":%s,"clusterBytes":%s,"usable":%s}\n' \
    "$(json_string "$id")" "$(json_string "$(backup_value "$id" kind)")" "$(json_text "$(backup_value "$id" parent)")" \
    "$(json_string "$(backup_value "$id" started)")" "$(json_string "$(backup_value "$id" ended)")" \
    "$(json_number "$(backup_value "$id" timeline)")" "$(json_string "$(backup_value "$id" start_lsn)")" \
    "$(json_string "$(backup_value "$id" stop_lsn)")" "$(json_string "$(backup_value "$id" start_wal)")" \
    "$(json_string "$(backup_value "$id" server_version)")" "$(json_number "$(backup_value "$id" size_bytes)")" \
    "$(json_number "$(backup_value "$id" cluster_bytes)")" "$(json_flag "$usable")"
}

json_status() {
  local file=$REPOSITORY/state/status.conf
  [ -r "$file" ] || { printf null; return; }
  printf '{"time":%s,"state":%s,"timeline":%s,"receivedLsn":%s,"receivedAt":%s,"heartbeatAt":%s,"slotState":%s,"lastError":%s,"nextBaseAt":%s,"baseState":%s}' \
    "$(json_text "$(conf_value "$file" time)")" "$(json_text "$(conf_value "$file" state)")" "$(json_number "$(conf_value "$file" timeline)")" \
    "$(json_text "$(conf_value "$file" received_lsn)")" "$(json_text "$(conf_value "$file" received_at)")" \
    "$(json_text "$(conf_value "$file" heartbeat_at)")" "$(json_text "$(conf_value "$file" slot_state)")" \
    "$(json_text "$(conf_value "$file" last_error)")" "$(json_text "$(conf_value "$file" next_base_at)")" "$(json_text "$(conf_value "$file" base_state)")"
}

json_drill() {
  local file=$1
  [ -n "$file" ] && [ -r "$file" ] || { printf null; return; }
  printf '{"id":%s,"started":%s,"ended":%s,"seconds":%s,"ok":%s,"backup":%s,"newestRestorable":%s,"rpoSeconds":%s,"rtoSeconds":%s,"message":%s,"checks":%s}' \
    "$(json_string "$(basename "$file" .conf)")" "$(json_text "$(conf_value "$file" started)")" "$(json_text "$(conf_value "$file" ended)")" \
    "$(json_number "$(conf_value "$file" seconds)")" "$(json_flag "$(conf_value "$file" ok)")" "$(json_text "$(conf_value "$file" backup)")" \
    "$(json_text "$(conf_value "$file" newest_restorable)")" "$(json_number "$(conf_value "$file" rpo_seconds)")" \
    "$(json_number "$(conf_value "$file" rto_seconds)")" "$(json_text "$(conf_value "$file" message)")" "$(json_text "$(conf_value "$file" checks)")"
}

# How far the copy off the host is, as its container has left it; nothing where there is none.
copy_value() { conf_value "$COPY_STATE/status.conf" "$1"; }

json_copy() {
  [ -r "$COPY_STATE/status.conf" ] || { printf null; return; }
  printf '{"state":%s,"place":%s,"copiedAt":%s,"copiedUntil":%s,"backups":%s,"newestBackup":%s,"lastError":%s}' \
    "$(json_text "$(copy_value state)")" "$(json_text "$(copy_value place)")" "$(json_text "$(copy_value copied_at)")" \
    "$(json_text "$(copy_value copied_until)")" "$(json_number "$(copy_value backups)")" \
    "$(json_text "$(copy_value newest_backup)")" "$(json_text "$(copy_value last_error)")"
}

text_copy() {
  local until
  [ -d "$COPY_STATE" ] || return 0
  until=$(copy_value copied_until)
  if [ -n "$until" ]; then
    say "Copy off the host: $(copy_value backups) backups at $(copy_value place), with everything until ${until%.*}Z ($(copy_value state))"
  else
    say "Copy off the host: nothing yet"
  fi
}

# Late is what its own health check calls so: five rounds, and at least five minutes.
copy_problems() {
  local at patience since
  [ -d "$COPY_STATE" ] || return 0
  if [ ! -r "$COPY_STATE/status.conf" ]; then
    say "the copy off the host has not run yet"
    return
  fi
  patience=$((5 * $(copy_value every)))
  [ "$patience" -ge 300 ] || patience=300
  at=$(copy_value copied_at)
  since=$(($1 - $(if [ -n "$at" ]; then epoch "$at"; else copy_value running_since; fi)))
  [ "$since" -le "$patience" ] || say "nothing was copied off the host to $(copy_value place) for $(age_text "$since"): $(copy_value last_error)"
  if [ "$(copy_value backups)" = 0 ] && [ "$since" -gt "$patience" ]; then say "there is no whole backup at $(copy_value place) yet"; fi
}

restore_points() {
  local lsn at name
  [ -r "$REPOSITORY/state/restore-points" ] || return 0
  while IFS='|' read -r lsn at name; do
    [ -n "$name" ] || continue
    "$1" "$lsn" "$at" "$name"
  done <"$REPOSITORY/state/restore-points"
}
json_point() { printf '{"name":%s,"lsn":%s,"madeAt":%s}\n' "$(json_string "$3")" "$(json_string "$1")" "$(json_string "$2")"; }
text_point() { printf '  %s  %s\n' "${2%.*}Z" "$3"; }
json_gap() { printf '{"after":%s,"wal":%s}\n' "$(json_string "$1")" "$(json_string "$2")"; }

list_command() {
  local json=no id gap drill now
  case ${1:-} in '') ;; --json) json=yes ;; *) fail "pgbackup list does not know: $1" "pgbackup list [--json]" ;; esac
  [ -d "$REPOSITORY/backups" ] || fail "There is no repository in $REPOSITORY." "see that it is mounted there, and that the backup container has run."
  load_window
  gap=$(gaps)
  drill=$(last_drill)
  if [ "$json" = yes ]; then
    printf '{"repository":{"format":%s,"systemIdentifier":%s,"freeBytes":%s},' "$(json_text "$(cat "$REPOSITORY/FORMAT" 2>/dev/null || true)")" \
      "$(json_text "$(cat "$REPOSITORY/system-identifier" 2>/dev/null || true)")" "$(free_bytes "$REPOSITORY")"
    printf '"backups":%s,' "$(for id in "${BACKUPS[@]}"; do json_backup "$id"; done | json_list)"
    if [ -n "$OLDEST" ]; then printf '"window":{"oldest":%s,"newest":%s},' "$(json_string "$OLDEST")" "$(json_string "$NEWEST_POINT")"; else printf '"window":null,'; fi
    printf '"gaps":%s,' "$(while read -r id segment; do [ -z "$id" ] || json_gap "$id" "$segment"; done <<<"$gap" | json_list)"
    printf '"restorePoints":%s,"lastDrill":%s,"copy":%s,"status":%s}\n' "$(restore_points json_point | json_list)" "$(json_drill "$drill")" "$(json_copy)" "$(json_status)"
    return
  fi
  now=$(date +%s)
  if [ ${#BACKUPS[@]} = 0 ]; then
    say "No base backup yet."
  else
    printf '%-22s %-5s %-21s %9s %9s\n' BACKUP KIND ENDED SIZE CLUSTER
    for id in "${BACKUPS[@]}"; do
      printf '%-22s %-5s %-21s %9s %9s%s\n' "$id" "$(backup_value "$id" kind)" "$(date -u -d "$(backup_value "$id" ended)" +%Y-%m-%dT%H:%M:%SZ)" \
        "$(size_text "$(backup_value "$id" size_bytes)")" "$(size_text "$(backup_value "$id" cluster_bytes)")" \
        "$(chain_of "$id" >/dev/null || echo "  needs $(backup_value "$id" parent), which is missing")"
    done
  fi
  say ""
  window_text
  if [ -n "$gap" ]; then
    while read -r id segment; do say "Missing: WAL segment $segment after backup $id; points after it need the next backup."; done <<<"$gap"
  fi
  if [ -s "$REPOSITORY/state/restore-points" ]; then
    say "Restore points:"
    restore_points text_point
  fi
  if [ -n "$drill" ]; then
    say "Last drill: $(conf_value "$drill" message) ($(age_text $((now - $(epoch "$(conf_value "$drill" ended)")))) ago)"
  else
    say "Last drill: none yet"
  fi
  if [ -r "$REPOSITORY/state/status.conf" ]; then
    say "Now: $(conf_value "$REPOSITORY/state/status.conf" state), as of $(conf_value "$REPOSITORY/state/status.conf" time)$(e=$(conf_value "$REPOSITORY/state/status.conf" last_error); [ -z "$e" ] || echo ": $e")"
    say "Next base backup: $(conf_value "$REPOSITORY/state/status.conf" next_base_at)"
  fi
  text_copy
  say "Free in the repository: $(size_text "$(free_bytes "$REPOSITORY")")"
}

# One problem a line.
problems() {
  local status=$REPOSITORY/state/status.conf now age newest at drill free need limit
  now=$(date +%s)
  load_catalogue
  if [ ! -r "$status" ]; then
    say "the backup container has never run with this repository"
  else
    age=$((now - $(epoch "$(conf_value "$status" time)")))
    [ "$age" -le 60 ] || say "the backup container has not said anything for $(age_text "$age"): it is stopped, or its repository is full"
    [ "$(conf_value "$status" state)" = streaming ] || say "WAL is not being received: $(conf_value "$status" last_error)"
    case $(conf_value "$status" slot_state) in
      reserved | extended) ;;
      *) say "slot $BACKUP_SLOT is $(conf_value "$status" slot_state)" ;;
    esac
    if [ "$(conf_value "$status" state)" = streaming ] && [ -n "$(conf_value "$status" last_error)" ]; then conf_value "$status" last_error; echo; fi
    at=$(conf_value "$status" received_at)
    limit=$((HEARTBEAT_EVERY > 60 ? 2 * HEARTBEAT_EVERY : 120))
    if [ -z "$at" ]; then
      say "nothing has been received yet"
    else
      age=$((now - $(epoch "$at")))
      [ "$age" -le "$limit" ] || say "the newest point that can be restored is $(age_text "$age") old ($at)"
    fi
  fi
  if [ ${#BACKUPS[@]} = 0 ]; then
    say "there is no base backup yet"
  else
    newest=${BACKUPS[-1]}
    age=$((now - $(epoch "$(backup_value "$newest" ended)")))
    [ "$age" -le $((2 * BACKUP_EVERY + 3600)) ] || say "the newest base backup, $newest, is $(age_text "$age") old; one is due every $(age_text "$BACKUP_EVERY")"
    if [ -r "$status" ] && ! whole_until_now; then say "no backup with all WAL after it leads to the newest point"; fi
    drill=$(last_drill)
    if [ "$DRILL_EVERY" -gt 0 ]; then
      if [ -z "$drill" ]; then
        age=$((now - $(epoch "$(backup_value "${BACKUPS[0]}" ended)")))
        [ "$age" -le $((2 * DRILL_EVERY)) ] || say "no restore has been proven yet"
      else
        [ "$(conf_value "$drill" ok)" = yes ] || say "the last drill failed: $(conf_value "$drill" message)"
        age=$((now - $(epoch "$(conf_value "$drill" ended)")))
        [ "$age" -le $((2 * DRILL_EVERY + 3600)) ] || say "the last drill was $(age_text "$age") ago; one is due every $(age_text "$DRILL_EVERY")"
      fi
    fi
    free=$(free_bytes "$REPOSITORY")
    need=$(($(backup_value "$newest" size_bytes) + 16 * $(segment_size)))
    [ "$free" -ge "$need" ] || say "the repository has $(size_text "$free") free, the next base backup may need $(size_text "$need")"
  fi
  copy_problems "$now"
}

check_command() {
  local found
  found=$(problems)
  case ${1:-} in
    '') if [ -n "$found" ]; then sed 's/^./\u&/' <<<"$found"; else say "All is well. $(window_text)"; fi ;;
    --json) printf '{"ok":%s,"problems":%s}\n' "$(json_flag "$([ -n "$found" ] || echo yes)")" "$(while IFS= read -r line; do [ -z "$line" ] || { json_string "$line"; echo; }; done <<<"$found" | json_list)" ;;
    *) fail "pgbackup check does not know: $1" "pgbackup check [--json]" ;;
  esac
  [ -z "$found" ]
}
