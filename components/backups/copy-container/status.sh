# How far the copy is: a file of `key=value` lines, which outlives the container.

round_started=0
copied_at=
copied_until=
last_error=
last_error_at=
state=starting
covers=
waits=

restore_status() {
  copied_at=$(value "$COPY_STATE/status.conf" copied_at)
  copied_until=$(value "$COPY_STATE/status.conf" copied_until)
  last_error=$(value "$COPY_STATE/status.conf" last_error)
  last_error_at=$(value "$COPY_STATE/status.conf" last_error_at)
  since=$(date +%s)
  write_status
}

utc() { date -u +%Y-%m-%dT%H:%M:%SZ; }

succeeded() {
  [ "$state" != failed ] || say "works again"
  state=current
  [ -z "$backups_pid" ] || state=copying
  copied_at=$(utc)
  # The repository had this much when the round began.
  copied_until=$covers
}

failed() {
  # A new environment has none yet.
  if [ -n "$waits" ] && [ -z "$copied_at" ]; then
    state=waiting
    return
  fi
  # Said once, not in every round.
  [ "$state" = failed ] && [ "$problem" = "$last_error" ] || echo "copy: $problem" >&2
  state=failed
  last_error=$problem
  last_error_at=$(utc)
}

write_status() {
  known=$work/known
  [ -e "$known" ] || known=/dev/null
  whole_backups "$known" >"$work/whole"
  {
    echo "time=$(utc)"
    echo "state=$state"
    echo "running_since=$since"
    echo "round_started=$round_started"
    echo "every=$COPY_EVERY"
    echo "place=$place"
    echo "encryption=$COPY_ENCRYPTION"
    echo "copied_at=$copied_at"
    # The newest heartbeat that is in the copy for certain: as of then, everything can be restored from it.
    echo "copied_until=$copied_until"
    echo "backups=$(wc -l <"$work/whole")"
    echo "newest_backup=$(tail -n 1 "$work/whole")"
    echo "newest_wal=$(newest_wal "$known")"
    awk -F'\t' '$1 != "/" { n++; s += $2 } END { printf "files=%d\nbytes=%.0f\n", n, s }' "$known"
    echo "last_error=$last_error"
    echo "last_error_at=$last_error_at"
  } >"$COPY_STATE/status.new"
  chmod 0644 "$COPY_STATE/status.new"
  mv "$COPY_STATE/status.new" "$COPY_STATE/status.conf"
}

# As a segment's name; an open one counts.
newest_wal() {
  awk -F'\t' '
    $1 ~ /^wal\/[0-9A-F]+[.]zst$/ { name = substr($1, 5, 24) }
    $1 ~ /^recent\// { name = substr($1, 8, 24) }
    name > newest { newest = name }
    END { print newest }' "$1"
}

status() {
  file=$COPY_STATE/status.conf
  [ -e "$file" ] || die "the copy is not running yet. Wait a moment and run this again."
  if [ "${1-}" = --json ]; then
    awk '
      # One by one: how many backslashes gsub wants is another number in each awk.
      function escaped(text, out, i, c) {
        for (i = 1; i <= length(text); i++) {
          c = substr(text, i, 1)
          out = out (c == "\\" || c == "\"" ? "\\" c : c < " " ? " " : c)
        }
        return out
      }
      { key = $0; sub(/=.*/, "", key); text = substr($0, length(key) + 2) }
      key ~ /^(round_started|every|backups|files|bytes|running_since)$/ { body = body sep "\"" key "\":" (text + 0 ? text : 0); sep = ","; next }
      { body = body sep "\"" key "\":" (text == "" ? "null" : "\"" escaped(text) "\""); sep = "," }
      END { print "{" body "}" }' "$file"
  else
    cat "$file"
  fi
}

# Seconds since a time as `utc` writes it, or a given number where there is none.
age() {
  [ -n "$1" ] || { echo "$2"; return; }
  then=$(date -u -d "$(echo "$1" | tr 'T' ' ' | tr -d 'Z' | cut -c 1-19)" +%s 2>/dev/null) || { echo "$2"; return; }
  echo $(($(date +%s) - then))
}

# Not well: nothing was copied for five rounds (and at least five minutes), or there is no whole backup in the copy.
check() {
  file=$COPY_STATE/status.conf
  [ -e "$file" ] || die "the copy is not running yet"
  patience=$((5 * $(value "$file" every)))
  [ "$patience" -ge 300 ] || patience=300
  up=$(($(date +%s) - $(value "$file" running_since)))
  late=$(age "$(value "$file" copied_at)" "$up")
  if [ "$late" -gt "$patience" ]; then
    die "nothing was copied to $(value "$file" place) for $late s: $(value "$file" last_error)"
  fi
  if [ "$(value "$file" backups)" = 0 ] && [ "$up" -gt "$patience" ]; then
    die "there is no whole backup at $(value "$file" place) yet ($(value "$file" state)) $(value "$file" last_error)"
  fi
  if [ "$(value "$file" state)" = failed ]; then
    say "the last try failed, $late s after the last copy: $(value "$file" last_error)"
  else
    say "last copy $late s ago, $(value "$file" backups) whole backups"
  fi
}
