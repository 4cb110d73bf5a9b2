# Sending: WAL and what is open of it in every round, backups beside it, since one may take hours.

# Finished files alone; they never change. Whatever else is in the repository belongs to who works on it.
finished='^(FORMAT|wal-segment-size|backups/[0-9]+T[0-9]+Z-(full|incr)/[^/]+|wal/[0-9A-F]{24}[.]zst|wal/[0-9A-F]{8}[.]history([.]zst)?|wal/[0-9A-F]{24}[.]partial([.]zst)?)$'

backups_pid=
backups_problem=

# @sets identifier, and makes the list of its finished files
read_repository() {
  identifier=$(cat "$REPOSITORY/system-identifier" 2>/dev/null) && [ -n "$identifier" ] && [ -s "$REPOSITORY/FORMAT" ] ||
    wrong "The repository has no backup yet, or is not where it was (no FORMAT and system-identifier in it). The copy stays as it is." || return 1
  # A file may be gone before it is looked at.
  (cd "$REPOSITORY" && find FORMAT wal-segment-size backups wal -type f -exec stat -c "%n$tab%s" {} + 2>/dev/null || :) >"$work/found"
  awk -F'\t' -v finished="$finished" '$1 ~ finished' "$work/found" | sort >"$work/local"
}

# Those of the repository's files that the copy has not, of one kind.
missing() {
  awk -F'\t' -v kind="$1" 'NR == FNR { known[$0]; next } $1 ~ kind && !($0 in known)' "$work/known" "$work/local"
}

# Sends a list of files. One that was sent in part has another size, and is sent again; one that was deleted meanwhile is
# left out.
send() {
  [ -s "$1" ] || return 0
  cut -f 1 "$1" >"$1.paths"
  # Asking for each of a few is less than a listing of all.
  look=
  [ "$(wc -l <"$1")" -gt 100 ] || look=--no-traverse
  rc copy "$REPOSITORY" "$target" --files-from-raw "$1.paths" --size-only $look --retries "$2" 2>"$errors" ||
    wrong "$place can't be written: $(rclone_error)"
}

send_and_know() {
  send "$1" 1 || return 1
  cat "$1" >>"$work/known"
}

# A timeline's history goes first: while the copy has none of it, nobody takes its number for another one.
send_wal() {
  for kind in '^(FORMAT|wal-segment-size)$' '^wal/.*[.]history' '^wal/'; do
    missing "$kind" >"$work/wal"
    send_and_know "$work/wal" || return 1
  done
  send_recent || return 1
  # Also where nothing new is open: a segment that had just been closed may be there as a whole only now.
  superseded >"$work/superseded"
  delete_remote "$work/superseded"
}

# What still changes, as it is now: the segment that is being received, without which a copy would be behind by up to a
# whole segment, and the small files of state that a restore reads. All in one archive, and a new one each time: the old
# one goes when it is there, so that an interrupted sending takes nothing away.
recent_state='timelines restore-points'

send_recent() {
  open=$(cd "$REPOSITORY/receiving" 2>/dev/null && find . -name '*.partial' | sed 's|^\./||' |
    awk '/^[0-9A-F]+[.]partial$/ && length($0) == 32' | sort | tail -n 1)
  written=$(stat -c %Y "$REPOSITORY/receiving/$open" 2>/dev/null) || written=0
  read_at=$(date +%s)
  stamp="$open $written $(cd "$REPOSITORY/state" 2>/dev/null && cat $recent_state 2>/dev/null | sha256sum)"
  [ "$stamp" != "$(cat "$work/recent-sent" 2>/dev/null)" ] || return 0
  rm -rf "$work/recent"
  mkdir -p "$work/recent/receiving" "$work/recent/state"
  # Closed meanwhile: the next round has it whole.
  [ -z "$open" ] || cp "$REPOSITORY/receiving/$open" "$work/recent/receiving/$open" 2>/dev/null || return 0
  for file in $recent_state; do
    cp "$REPOSITORY/state/$file" "$work/recent/state/" 2>/dev/null || :
  done
  # How far the repository was when the round began: the copy is not behind that.
  cp "$work/status.conf" "$work/recent/state/" 2>/dev/null || :
  segment=${open%.partial}
  name=recent/${segment:-000000000000000000000000}.$(printf '%012d' "$read_at").tar.gz
  (cd "$work/recent" && tar -c receiving state) | gzip -1 >"$work/recent.tar.gz"
  rm -rf "$work/recent"
  put "$work/recent.tar.gz" "$name" || return 1
  printf '%s\t%s\n' "$name" "$(stat -c %s "$work/recent.tar.gz")" >>"$work/known"
  # Written in the very second in which it was read: read again.
  [ "$written" -ge $((read_at - 2)) ] || echo "$stamp" >"$work/recent-sent"
}

# Archives of the copy with a segment that it has newer, or whole, or that retention has deleted before it was whole here.
# Never the newest one.
superseded() {
  { grep '^wal/' "$REPOSITORY/state/expired" 2>/dev/null || :; cat "$work/known"; } | awk -F'\t' '
    $1 ~ /^wal\// { split(substr($1, 5), part, "."); whole[part[1]] }
    $1 ~ /^recent\/.*[.]tar[.]gz$/ { name[++count] = $1 }
    END {
      for (i = 1; i <= count; i++) {
        segment = substr(name[i], 8, 24)
        time = substr(name[i], 33, 12)
        if (time > newest[segment]) newest[segment] = time
        if (time > last) last = time
      }
      for (i = 1; i <= count; i++) {
        segment = substr(name[i], 8, 24)
        time = substr(name[i], 33, 12)
        if (time != last && (segment in whole || segment !~ /[1-9A-F]/ || time != newest[segment])) print name[i]
      }
    }' | sort -u
}

# Starts to send the backups that the copy has not; one process at a time. What makes a backup whole goes last.
send_backups() {
  [ -z "$backups_pid" ] || return 0
  missing '^backups/' >"$work/backups"
  [ -s "$work/backups" ] || return 0
  grep -v '/\(SHA256SUMS\|backup\.conf\)'"$tab" "$work/backups" >"$work/backup-files" || :
  grep '/\(SHA256SUMS\|backup\.conf\)'"$tab" "$work/backups" >"$work/backup-marks" || :
  say "sending $(wc -l <"$work/backups") files of backups ($(awk -F'\t' '{ s += $2 } END { printf "%d", s / 1048576 }' "$work/backups") MiB)"
  (
    errors=$work/backup-errors
    send "$work/backup-files" 2 && send "$work/backup-marks" 2 || { echo "$problem" >"$work/backup-problem"; exit 1; }
  ) 3>&- &
  backups_pid=$!
  rm -f "$work/backup-problem"
}

reap_backups() {
  [ -n "$backups_pid" ] && ! kill -0 "$backups_pid" 2>/dev/null || return 0
  if wait "$backups_pid"; then
    backups_problem=
    [ ! -e "$work/known" ] || cat "$work/backups" >>"$work/known"
    say "the backups are sent"
  else
    backups_problem=$(cat "$work/backup-problem" 2>/dev/null || echo "sending backups was interrupted")
  fi
  backups_pid=
}
