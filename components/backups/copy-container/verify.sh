# Looking: what the copy has, and whether it is what the repository has.

beside_daemon() {
  work=$work/$1
  rm -rf "$work"
  prepare
}

list() {
  beside_daemon list
  look_at_remote && check_encryption || die "$problem"
  has_entry "system-identifier$suffix" || die "There is no copy at $place."
  read_remote_file system-identifier || die "$problem"
  list_remote >"$work/listing" || die "$problem"
  echo "system identifier: $text"
  whole_backups "$work/listing" | while read -r id; do
    echo "$id  $(awk -F'\t' -v id="$id" 'index($1, "backups/" id "/") == 1 { s += $2 } END { printf "%.1f MiB", s / 1048576 }' "$work/listing")"
  done
  echo "newest WAL: $(newest_wal "$work/listing")"
}

verify() {
  beside_daemon verify
  read_repository || die "$problem"
  look_at_remote && check_encryption || die "$problem"
  read_remote_file system-identifier || die "$problem"
  [ "$text" = "$identifier" ] || die "The copy at $place is of another database server ($text, not $identifier)."
  # What the daemon has not sent yet is no damage.
  list_remote >"$work/known" || die "$problem"
  awk -F'\t' 'NR == FNR { known[$1]; next } $1 in known' "$work/known" "$work/local" >"$work/both"
  cut -f 1 "$work/both" >"$work/paths"
  say "reading $(wc -l <"$work/paths") files at $place"
  rc check "$REPOSITORY" "$target" --one-way --download --files-from-raw "$work/paths" --retries 1 \
    --combined "$work/result" --stats 10s --stats-one-line 2>"$errors" || :
  # * another content, ! could not be read, - gone by now on either side
  grep '^[*!]' "$work/result" | cut -c 3- >"$work/damaged" || :
  if ! [ -s "$work/damaged" ]; then
    [ "$(grep -c '^=' "$work/result")" -gt 0 ] || die "$place could not be compared: $(rclone_error)"
    say "$(grep -c '^=' "$work/result") files are as in the repository"
    rm -rf "$work"
    return 0
  fi
  while read -r path; do echo "copy: damaged in the copy: $path" >&2; done <"$work/damaged"
  if [ "${1-}" != --repair ]; then
    die "$(wc -l <"$work/damaged") files of the copy are not as in the repository. To send them anew: copy verify --repair"
  fi
  rc copy "$REPOSITORY" "$target" --files-from-raw "$work/damaged" --ignore-times --no-traverse --retries 2 2>"$errors" ||
    die "they could not be sent anew: $(rclone_error)"
  say "sent $(wc -l <"$work/damaged") files anew"
}
