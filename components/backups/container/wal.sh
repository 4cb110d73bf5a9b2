# WAL in the repository: which segments there are, and whether they are without a gap.

declare -A SEGMENTS=()
# The newest segment number of each timeline.
declare -A NEWEST=()

# Fills SEGMENTS[name] with the file that has it. One that was not filled counts too: it is the last of its timeline.
load_segments() {
  local file name number
  SEGMENTS=()
  NEWEST=()
  SEGMENTS_A_LOG=$((0x100000000 / $(segment_size)))
  for file in "$REPOSITORY"/receiving/*.partial "$REPOSITORY"/wal/*.partial.zst "$REPOSITORY"/receiving/* "$REPOSITORY"/wal/*.zst; do
    name=${file##*/}
    case $name in *.partial | *.partial.zst) ;; *) name=${name%.zst} ;; esac
    name=${name%.zst}
    name=${name%.partial}
    [ ${#name} = 24 ] || continue
    SEGMENTS[$name]=${file#"$REPOSITORY/"}
    number=$((16#${name:8:8} * SEGMENTS_A_LOG + 16#${name:16:8}))
    if [ "$number" -gt "${NEWEST[$((16#${name:0:8}))]:--1}" ]; then NEWEST[$((16#${name:0:8}))]=$number; fi
  done
}

# missing_wal ID LINEAGE: segments between a backup and the newest one on the lineage that are not there, one a line.
missing_wal() {
  local id=$1 size timeline switch from to begin=0 number name mine=${BACKUP["$1 timeline"]}
  size=$(segment_size)
  from=$(segment_number "${BACKUP["$id start_wal"]}")
  while read -r timeline switch; do
    # The segment in which a timeline was left is in the next one too, as a whole.
    if [ "$switch" = 9223372036854775807 ]; then
      to=${NEWEST[$timeline]:-$((begin - 1))}
    else
      to=$((switch / size - 1))
    fi
    if [ "$timeline" -ge "$mine" ]; then
      number=$((begin > from ? begin : from))
      while [ "$number" -le "$to" ]; do
        printf -v name '%08X%08X%08X' "$timeline" $((number / SEGMENTS_A_LOG)) $((number % SEGMENTS_A_LOG))
        if [ -z "${SEGMENTS[$name]:-}" ]; then printf '%s\n' "$name"; fi
        number=$((number + 1))
      done
    fi
    begin=$((switch / size))
  done <<<"$2"
}

# Whether a backup and all WAL after it lead to the newest point of the server's timeline: what must always be so.
whole_until_now() {
  local timeline lines id
  timeline=$(current_timeline)
  lines=$(lineage "$timeline")
  load_catalogue
  load_segments
  for ((i = ${#BACKUPS[@]} - 1; i >= 0; i--)); do
    id=${BACKUPS[i]}
    on_lineage "$id" "$lines" && chain_of "$id" >/dev/null || continue
    # Nothing was received on the timeline yet: the backup may be from before a restore.
    [ -n "${NEWEST[$timeline]:-}" ] || [ "${BACKUP["$id timeline"]}" = "$timeline" ] || return 1
    [ -z "$(missing_wal "$id" "$lines" | head -n 1)" ]
    return
  done
  return 1
}
