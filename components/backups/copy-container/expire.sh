# Deleting: only what the repository's retention has deleted and written down. A repository that is lost, emptied or made
# anew has written down nothing, and takes nothing away here.

# Deletes a list of files of the copy. Those that are gone already are no mistake.
delete_remote() {
  [ -s "$1" ] || return 0
  rc delete "$target" --files-from-raw "$1" --retries 1 2>"$errors" ||
    wrong "$place: files that are no longer needed can't be deleted: $(rclone_error)" || return 1
  awk -F'\t' 'NR == FNR { gone[$0]; next } !($1 in gone)' "$1" "$work/known" >"$work/known.new"
  mv "$work/known.new" "$work/known"
}

# Files of the copy that retention has deleted: a path of the list, or one below it, that the repository has not.
expired() {
  awk -F'\t' '
    FILENAME == ARGV[1] { sub(/\/$/, ""); if ($0 ~ /^(backups|wal)\/[^\/]+$/ && $0 !~ /\.\./) listed[$0]; next }
    FILENAME == ARGV[2] { here[$1]; next }
    {
      split($1, part, "/")
      if (((part[1] "/" part[2]) in listed) && !($1 in here)) print $1
    }' "$REPOSITORY/state/expired" "$work/found" "$work/known"
}

expire() {
  [ -s "$REPOSITORY/state/expired" ] || return 0
  expired >"$work/expired"
  [ -s "$work/expired" ] || return 0
  # Whatever the list says, a copy without a whole backup is none.
  whole_backups "$work/known" >"$work/whole"
  if ! awk -F/ 'NR == FNR { if ($1 == "backups") gone[$2]; next } !($0 in gone) { kept++ } END { exit kept == 0 }' \
    "$work/expired" "$work/whole"; then
    wrong "state/expired would have the copy's last whole backup deleted. Nothing was deleted."
    return 1
  fi
  say "deleting $(wc -l <"$work/expired") files that the repository no longer keeps"
  # A backup that is deleted in part must not look whole.
  grep '/\(SHA256SUMS\|backup\.conf\)$' "$work/expired" >"$work/expired-marks" || :
  delete_remote "$work/expired-marks" || return 1
  cut -d / -f 1-2 "$work/expired" | grep '^backups/' | sort -u >"$work/expired-folders" || :
  delete_remote "$work/expired" || return 1
  # Object stores have no folders; on others an empty one is left.
  while read -r folder; do
    rc rmdir "$(at "$folder")" --retries 1 2>/dev/null || :
  done <"$work/expired-folders"
}
