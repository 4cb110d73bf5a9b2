# The way back: fills an empty repository from the copy. May be interrupted anywhere and run again.

fetch() {
  prepare
  mark=$REPOSITORY/.fetching
  [ -d "$REPOSITORY" ] || die "there is no folder $REPOSITORY"
  # Nothing is written before all of this holds.
  look_at_remote && check_encryption || die "$problem"
  has_entry "system-identifier$suffix" || die "There is no copy at $place. See backupCopyPath, and what is there: rclone lsf."
  read_remote_file system-identifier || die "$problem"
  identifier=$text
  check_empty
  list_remote >"$work/listed" || die "$problem"
  whole_backups "$work/listed" >"$work/whole"
  [ -s "$work/whole" ] || die "The copy at $place has no whole backup, so there is nothing to restore from."

  echo "$identifier" >"$mark"
  : >"$work/damaged"
  wanted_files >"$work/wanted"
  say "fetching $(wc -l <"$work/wanted") files ($(awk -F'\t' '{ s += $2 } END { printf "%d", s / 1048576 }' "$work/wanted") MiB, $(wc -l <"$work/whole") backups) from $place"
  fetch_files_and_recent
  set_damaged_aside

  mkdir -p "$REPOSITORY/backups" "$REPOSITORY/wal" "$REPOSITORY/receiving" "$REPOSITORY/state"
  # The last: without them it is no repository yet.
  echo "$identifier" >"$REPOSITORY/system-identifier"
  rc copyto "$(at FORMAT)" "$REPOSITORY/FORMAT" --size-only --retries 3 2>"$errors" || again
  [ -z "${REPOSITORY_OWNER-}" ] || chown -R "$REPOSITORY_OWNER" "$REPOSITORY"
  sync
  mv "$mark" "$REPOSITORY/state/fetched"
  say "the repository has $(whole_here | wc -l) whole backups; the newest is $(whole_here | tail -n 1)"
  if [ -s "$work/damaged" ]; then
    say "WARNING: what is named above as damaged is missing in it. A restore that needs it will say so."
  fi
}

# A copy that is still written to goes on meanwhile: an open segment that was listed is there as a whole by the time that
# it is to be fetched. Then all is listed anew, and what is new is fetched too.
fetch_files_and_recent() {
  for listing in 1 2 3 4 5; do
    gone=
    fetch_files
    [ -n "$gone" ] || fetch_recent
    [ -n "$gone" ] || return 0
    list_remote >"$work/listed" || die "$problem"
    whole_backups "$work/listed" >"$work/whole"
    wanted_files >"$work/wanted"
  done
  again
}

check_empty() {
  # It was fetched whole by a run whose restore did not go on, and nobody has written to it since.
  if [ -e "$REPOSITORY/state/fetched" ] && [ ! -e "$REPOSITORY/state/daemon.lock" ] && [ ! -e "$mark" ]; then
    mv "$REPOSITORY/state/fetched" "$mark"
  fi
  if [ -e "$mark" ]; then
    [ "$(cat "$mark")" = "$identifier" ] || [ "$(find "$REPOSITORY" -type f | wc -l)" -le 1 ] ||
      die "$REPOSITORY was being filled from the copy of another database server ($(cat "$mark"), not $identifier). Empty it, and run this again."
    say "going on with what an earlier run has fetched"
    rm -rf "$REPOSITORY"/backups/.incomplete-*
    return
  fi
  others=$(ls -A "$REPOSITORY" | grep -vx 'lost+found' | head -n 5 | tr '\n' ' ')
  [ -z "$others" ] ||
    die "The repository is not empty (it has ${others% }), and a copy is only ever fetched into an empty one. Nothing was changed. To restore from the repository that is there, leave «from: copy» out; otherwise move it away first."
}

# Whole backups and all WAL. What was sent in part is left out.
wanted_files() {
  awk -F'\t' -v finished="$finished" '
    NR == FNR { whole[$0]; next }
    $1 !~ finished || $1 == "FORMAT" { next }
    { split($1, part, "/") }
    part[1] ~ /^wal/ || part[2] in whole' "$work/whole" "$work/listed"
}

again() { die "$place: $(rclone_error). What was fetched so far stays: run this again, and it goes on."; }

# What can't be decrypted, or ends too early, is damaged; anything else is the way to the storage.
is_damage() {
  grep -q 'bad password\|failed to authenticate\|not an encrypted file\|bad magic\|unexpected EOF\|too short' "$errors"
}

# What rclone says of a file that is not there.
is_gone() { grep -q 'not found' "$errors"; }

fetch_files() {
  cut -f 1 "$work/wanted" >"$work/wanted.paths"
  rm -f "$work/fetched"
  for try in 1 2 3; do
    # What went wrong is said below, by name.
    { rc copy "$target" "$REPOSITORY" --files-from-raw "$work/wanted.paths" --size-only --retries 1 \
      --stats "${COPY_PROGRESS_EVERY:-10s}" --stats-one-line --stats-log-level ERROR 2>&1 && echo done >"$work/fetched"; } |
      sed -n 's/^[0-9/]* [0-9:]* ERROR : *\([0-9.]* [KMGT]*i*B .*\)/copy: \1/p'
    if [ -e "$work/fetched" ]; then return 0; fi
    while IFS=$tab read -r path size; do
      [ "$(stat -c %s "$REPOSITORY/$path" 2>/dev/null)" = "$size" ] || echo "$path"
    done <"$work/wanted" >"$work/absent"
    # One damaged file is no reason to do without the others.
    : >"$work/wanted.paths"
    while read -r path; do
      if rc cat "$(at "$path")" --retries 2 2>"$errors" >/dev/null; then
        echo "$path" >>"$work/wanted.paths"
      elif is_damage; then
        damaged "$path"
        rm -f "$REPOSITORY/$path"
      elif is_gone; then
        gone=yes
        return
      else
        again
      fi
    done <"$work/absent"
    [ -s "$work/wanted.paths" ] || return 0
  done
  again
}

damaged() {
  ! grep -qxF "$1" "$work/damaged" || return 0
  echo "$1" >>"$work/damaged"
  echo "copy: damaged in the copy: $1" >&2
}

# The newest state, and each segment that was open as it was last: from the newest archives that are whole.
fetch_recent() {
  mkdir -p "$REPOSITORY/receiving" "$REPOSITORY/state"
  rm -f "$REPOSITORY"/receiving/*.partial
  awk -F'\t' '$1 ~ /^recent\/[0-9A-F]+[.][0-9]+[.]tar[.]gz$/ { print substr($1, 33, 12) "\t" $1 }' "$work/listed" |
    sort -r | cut -f 2 >"$work/archives"
  : >"$work/segments"
  newest=yes
  while read -r path; do
    segment=$(echo "$path" | cut -c 8-31)
    [ -n "$newest" ] || ! grep -qxF "$segment" "$work/segments" || continue
    rm -rf "$work/recent"
    mkdir "$work/recent"
    if rc cat "$(at "$path")" --retries 2 2>"$errors" >"$work/recent.tar.gz" &&
      gunzip -c <"$work/recent.tar.gz" 2>/dev/null >"$work/recent.tar" && tar -x -C "$work/recent" -f "$work/recent.tar" 2>/dev/null; then
      if [ -n "$newest" ]; then cp "$work"/recent/state/* "$REPOSITORY/state/" 2>/dev/null || :; fi
      newest=
      echo "$segment" >>"$work/segments"
      if [ -e "$work/recent/receiving/$segment.partial" ] && [ ! -e "$REPOSITORY/wal/$segment.zst" ]; then
        cp "$work/recent/receiving/$segment.partial" "$REPOSITORY/receiving/$segment.partial"
      fi
    elif [ ! -s "$errors" ] || is_damage; then
      damaged "$path"
    elif is_gone; then
      gone=yes
      return
    else
      again
    fi
  done <"$work/archives"
  rm -rf "$work/recent" "$work/recent.tar"
}

whole_here() {
  (cd "$REPOSITORY" && find backups -type f 2>/dev/null) | sed "s/\$/${tab}0/" >"$work/here"
  whole_backups "$work/here"
}

# A backup with a damaged file can't be restored, nor one that builds on it. Its name then is that of an unfinished one.
set_damaged_aside() {
  for id in $(whole_here); do
    (cd "$REPOSITORY/backups/$id" && sha256sum -c SHA256SUMS 2>/dev/null) >"$work/sums" && continue
    grep -v ': OK$' "$work/sums" | sed 's/: [^:]*$//' | while read -r file; do
      damaged "backups/$id/$file"
    done
    set_aside "$id" "it is damaged"
  done
  # Those of which a file did not come at all.
  (cd "$REPOSITORY/backups" && ls) >"$work/folders"
  whole_here >"$work/kept"
  while read -r id; do
    grep -qxF "$id" "$work/kept" || set_aside "$id" "it is damaged"
  done <"$work/folders"
  gone=yes
  while [ -n "$gone" ]; do
    gone=
    for id in $(whole_here); do
      parent=$(value "$REPOSITORY/backups/$id/backup.conf" parent)
      [ -z "$parent" ] || [ -d "$REPOSITORY/backups/$parent" ] || { set_aside "$id" "it builds on $parent" && gone=yes; }
    done
  done
  [ -n "$(whole_here)" ] || die "The copy at $place has no backup that is not damaged. What was fetched is left in the repository as it is."
}

set_aside() {
  say "backup $1 can't be used: $2"
  rm -rf "$REPOSITORY/backups/.incomplete-$1"
  mv "$REPOSITORY/backups/$1" "$REPOSITORY/backups/.incomplete-$1"
}
