# Reads all there is: checksums, WAL without a gap, and the newest backup as PostgreSQL's own pg_verifybackup sees it.

scratch_folder() {
  if [ -d "$SCRATCH" ] && [ -w "$SCRATCH" ]; then
    printf '%s' "$SCRATCH"
  elif mkdir -p "$REPOSITORY/scratch" 2>/dev/null && [ -w "$REPOSITORY/scratch" ]; then
    printf '%s' "$REPOSITORY/scratch"
  else
    return 1
  fi
}

verify_sums() {
  local folder=$REPOSITORY/backups/$1 line
  [ -r "$folder/SHA256SUMS" ] || { say "backups/$1/SHA256SUMS is missing"; return; }
  (cd "$folder" && sha256sum -c --quiet SHA256SUMS 2>/dev/null || true) | while IFS= read -r line; do
    case $line in
      *'FAILED open or read') say "backups/$1/${line%%: *} is missing or can't be read" ;;
      *FAILED) say "backups/$1/${line%%: *} is damaged: its checksum is not the one in SHA256SUMS" ;;
    esac
  done
}

verify_wal() {
  local file message received timeline name end
  for file in "$REPOSITORY"/wal/*.zst; do
    # One that retention removes at this moment is no damage.
    if ! message=$(zstd -tq "$file" 2>&1) && [ -e "$file" ]; then say "wal/${file##*/} is damaged: $(one_line <<<"${message##*: }")"; fi
  done
  # What is being received has no checksum yet but the records' own.
  received=$(conf_value "$REPOSITORY/state/status.conf" received_lsn)
  [ -n "$received" ] || return 0
  timeline=$(printf '%08X' "$(conf_value "$REPOSITORY/state/status.conf" timeline)")
  name=$(segment_name "$((16#$timeline))" $(($(lsn_floor "$received") / $(segment_size))))
  mkdir -p "$RUN/dump"
  # Full in the meantime: then it is being compressed, and its end was not where the damage would be.
  cp "$REPOSITORY/receiving/$name.partial" "$RUN/dump/$name" 2>/dev/null || return 0
  message=$(pg_waldump --quiet "$RUN/dump/$name" 2>&1 || true)
  # It names the place where it found no more: the end of what was received, or damage.
  end=$(grep -oE '(at|after) [0-9A-F]+/[0-9A-F]+' <<<"$message" | tail -n 1 | cut -d ' ' -f 2)
  rm -f "$RUN/dump/$name"
  if [ -n "$end" ] && [ "$(lsn_number "$end")" -lt "$(lsn_floor "$received")" ]; then
    say "receiving/$name.partial is damaged: $(one_line <<<"${message#*error: }"); it had received all up to $received"
  fi
}

verify_files() {
  local id=$1 folder need message combined=()
  folder=$(scratch_folder) || { say "there is no folder to unpack backup $id into"; return; }
  need=$(($(backup_value "$id" cluster_bytes) * 11 / 10))
  if [ "$(backup_value "$id" kind)" = incr ]; then need=$((need * 2)) combined=(-n); fi
  if [ "$(free_bytes "$folder")" -lt "$need" ]; then
    say "backup $id could not be unpacked for pg_verifybackup: $folder needs $(size_text "$need")"
    return
  fi
  folder=$folder/verify-$$
  VERIFY_FOLDER=$folder
  mkdir -p "$folder"
  if message=$(build "$id" "$folder/data"); then
    message=$(pg_verifybackup -q -i tablespace_map "${combined[@]}" "$folder/data" 2>&1) || say "backup $id: $(one_line <<<"$message")"
  else
    say "$message"
  fi
  rm -rf "$folder"
}

verify_command() {
  local json=no only='' id ids newest found='' line
  while [ $# -gt 0 ]; do
    case $1 in
      --json) json=yes ;;
      -*) fail "pgbackup verify does not know: $1" "pgbackup verify [ID] [--json]" ;;
      *) only=$1 ;;
    esac
    shift
  done
  RUN=$RUN/verify-$$
  mkdir -p "$RUN"
  VERIFY_FOLDER=
  trap 'rm -rf "$RUN" ${VERIFY_FOLDER:+"$VERIFY_FOLDER"}' EXIT
  trap 'exit 130' INT TERM
  if [ "$json" = yes ]; then exec 3>&2; else exec 3>&1; fi
  load_catalogue
  [ ${#BACKUPS[@]} -gt 0 ] || fail "There is no backup in the repository $REPOSITORY." "take one: pgbackup now."
  if [ -n "$only" ]; then
    [ -n "$(backup_value "$only" id)" ] || fail "There is no backup $only." "pgbackup list shows them."
    ids=$(chain_of "$only") || { found="backup $only needs others that are not there"; ids=$only; }
    newest=$only
  else
    ids=${BACKUPS[*]}
    newest=${BACKUPS[-1]}
  fi
  for id in $ids; do
    say "Checksums of backup $id" >&3
    found+=$'\n'$(verify_sums "$id")
    chain_of "$id" >/dev/null || found+=$'\n'"backup $id needs backup $(backup_value "$id" parent), which is missing"
  done
  load_segments
  say "WAL: ${#SEGMENTS[@]} segments" >&3
  found+=$'\n'$(verify_wal)
  found+=$'\n'$(gaps | while read -r id line; do say "wal/$line.zst is missing: what came after it can't be restored from backup $id"; done)
  if ! grep -q "^backups/" <<<"$found"; then
    verify_files "$newest" >"$RUN/files"
    found+=$'\n'$(cat "$RUN/files")
  fi
  found=$(sed '/^$/d' <<<"$found" | sort -u)
  if [ "$json" = yes ]; then
    printf '{"ok":%s,"problems":%s}\n' "$(json_flag "$([ -n "$found" ] || echo yes)")" "$(while IFS= read -r line; do [ -z "$line" ] || { json_string "$line"; echo; }; done <<<"$found" | json_list)"
  elif [ -n "$found" ]; then
    say "Damage:"
    sed 's/^/  /' <<<"$found"
  else
    say "Whole: $(wc -w <<<"$ids") backups and ${#SEGMENTS[@]} WAL segments. $(window_text)"
  fi
  [ -z "$found" ]
}
