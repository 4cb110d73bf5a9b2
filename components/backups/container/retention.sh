# Which backups may go. Nothing that any point of the window needs ever does.

# Reads lines, writes the ids of the backups that nothing needs:
#   backup ID KIND PARENT ENDED TIMELINE STOP    times in seconds since 1970; LSNs as numbers; no parent: -
#   timeline N SINCE                             when the server was first seen on it, in that order
#   history N PARENT SWITCH                      the LSN at which PARENT was left on the way to N
# decide_retention NOW WINDOW MINIMUM
decide_retention() {
  awk -v now="$1" -v window="$2" -v minimum="$3" '
    # LSNs are larger than what awk counts exactly; with leading zeros they compare as text.
    function padded(number) { while (length(number) < 20) number = "0" number; return "n" number }
    function usable(id,   steps) {
      for (steps = 0; steps < 1000; steps++) {
        if (!(id in kind)) return 0
        if (kind[id] == "full") return 1
        id = parent[id]
      }
      return 0
    }
    function leads_to(id, to,   i) {
      if (timeline[id] == to) return 1
      for (i = 1; i <= histories; i++)
        if (history_of[i] == to && history_parent[i] == timeline[id] && stop[id] <= history_switch[i]) return 1
      return 0
    }
    function keep(id,   steps) {
      for (steps = 0; steps < 1000 && (id in kind); steps++) {
        needed[id] = 1
        if (kind[id] == "full") return
        id = parent[id]
      }
    }
    $1 == "backup" { ids[++count] = $2; kind[$2] = $3; parent[$2] = $4; ended[$2] = $5 + 0; timeline[$2] = $6; stop[$2] = padded($7) }
    $1 == "timeline" { period[++periods] = $2; since[periods] = $3 + 0 }
    $1 == "history" { history_of[++histories] = $2; history_parent[histories] = $3; history_switch[histories] = padded($4) }
    END {
      if (minimum < 1) minimum = 1
      begin = now - window
      # All that ended in the window is a way to some point of it.
      for (i = 1; i <= count; i++) if (ended[ids[i]] >= begin) keep(ids[i])
      if (periods == 0) { period[++periods] = "any"; since[periods] = 0 }
      # The first point of each timeline in the window needs the newest backup from before it.
      for (p = 1; p <= periods; p++) {
        if (p < periods && since[p + 1] < begin) continue
        from = (p > 1 && since[p] > begin) ? since[p] : begin
        anchor = ""
        for (i = 1; i <= count; i++) {
          id = ids[i]
          if (ended[id] > from || !usable(id)) continue
          if (period[p] != "any" && !leads_to(id, period[p])) continue
          if (anchor == "" || ended[id] >= ended[anchor]) anchor = id
        }
        # None leads there: then whatever might is kept.
        if (anchor != "") keep(anchor)
        else for (i = 1; i <= count; i++) if (ended[ids[i]] <= from && period[p] != "any" && timeline[ids[i]] == period[p]) keep(ids[i])
      }
      fulls = 0
      for (i = 1; i <= count; i++) order[i] = ids[i]
      for (i = 2; i <= count; i++)
        for (j = i; j > 1 && ended[order[j]] > ended[order[j - 1]]; j--) { swap = order[j]; order[j] = order[j - 1]; order[j - 1] = swap }
      for (i = 1; i <= count && fulls < minimum; i++) if (kind[order[i]] == "full") { keep(order[i]); fulls++ }
      # The newest chain is what a restore of the newest point takes.
      for (i = 1; i <= count; i++) if (usable(order[i])) { keep(order[i]); break }
      for (i = 1; i <= count; i++) if (!(ids[i] in needed)) print ids[i]
    }'
}

# The catalogue as decide_retention reads it.
retention_input() {
  local id timeline since parent switch _ file
  for id in "${BACKUPS[@]}"; do
    parent=${BACKUP["$id parent"]:-}
    printf 'backup %s %s %s %s %s %s\n' "$id" "${BACKUP["$id kind"]}" "${parent:--}" \
      "$(epoch "${BACKUP["$id ended"]}")" "${BACKUP["$id timeline"]}" "$(lsn_number "${BACKUP["$id stop_lsn"]}")"
  done
  if [ -r "$REPOSITORY/state/timelines" ]; then
    while read -r timeline since; do
      printf 'timeline %s %s\n' "$timeline" "$(epoch "$since")"
      file=$(printf '%s/wal/%08X.history' "$REPOSITORY" "$timeline")
      [ -r "$file" ] || continue
      while read -r parent switch _; do
        case $parent in '' | \#*) continue ;; esac
        printf 'history %s %s %s\n' "$timeline" "$parent" "$(lsn_number "$switch")"
      done <"$file"
    done <"$REPOSITORY/state/timelines"
  fi
}

# The copy off the host reads the list of what was removed, in every round. Beginning with bytes that it has long seen,
# it is cut: one that was away for longer keeps some files that nobody needs.
: "${EXPIRED_BYTES:=16777216}"
trim_expired() {
  local list=$REPOSITORY/state/expired
  [ "$(stat -c %s "$list" 2>/dev/null || echo 0)" -gt "$EXPIRED_BYTES" ] || return 0
  # The first line is cut through.
  tail -c $((EXPIRED_BYTES / 2)) "$list" | tail -n +2 >"$list.tmp" && sync "$list.tmp" && mv "$list.tmp" "$list"
}

# Removes what the window does not need, after a new backup is whole. Whoever calls it holds the lock.
apply_retention() {
  local expired id file name number oldest='' go=()
  trim_expired || return 1
  load_catalogue
  expired=$(retention_input | decide_retention "$(date +%s)" "$BACKUP_WINDOW" "$BACKUP_MINIMUM") || return 1
  for id in $expired; do
    printf 'backups/%s\n' "$id" >>"$REPOSITORY/state/expired" && sync "$REPOSITORY/state/expired" || return 1
    # Out of the catalogue in one step: half of a backup never looks like a whole one.
    mv "$REPOSITORY/backups/$id" "$REPOSITORY/backups/.incomplete-$id" && rm -rf "$REPOSITORY/backups/.incomplete-$id" || return 1
    say "Removed backup $id: no point of the last $(age_text "$BACKUP_WINDOW") needs it"
  done
  load_catalogue
  load_segments
  for id in "${BACKUPS[@]}"; do
    number=$(segment_number "${BACKUP["$id start_wal"]}")
    if [ -z "$oldest" ] || [ "$number" -lt "$oldest" ]; then oldest=$number; fi
  done
  [ -n "$oldest" ] || return 0
  for file in "$REPOSITORY"/wal/*.zst; do
    name=${file##*/}
    [[ $name =~ ^[0-9A-F]{24}(\.partial)?\.zst$ ]] || continue
    number=$((16#${name:8:8} * SEGMENTS_A_LOG + 16#${name:16:8}))
    if [ "$number" -lt "$oldest" ]; then go+=("wal/$name"); fi
  done
  [ ${#go[@]} -gt 0 ] || return 0
  printf '%s\n' "${go[@]}" >>"$REPOSITORY/state/expired" && sync "$REPOSITORY/state/expired" || return 1
  (cd "$REPOSITORY" && printf '%s\0' "${go[@]}" | xargs -0 rm -f --) || return 1
  say "Removed ${#go[@]} WAL files from before the oldest backup"
}
