# The storage: how it is reached, whose copy is there, and what it has.

# Beside the program, as they were uploaded.
secrets=$here
# Of the daemon; a command beside it has a folder of its own.
work=${COPY_WORK:-/run/postgresql-environment-copy}
encrypted=postgresql-environment-encryption
tab=$(printf '\t')

# Makes rclone's configuration: the storage's, and over it the encryption.
#
# Contents are encrypted, names are not. A name tells a time, a kind of backup or a WAL position and nothing of the
# data; in plain text it lets anyone see at the storage what there is, and a wrong key is told apart from no copy.
prepare() {
  mkdir -p "$work"
  conf=$work/rclone.conf
  errors=$work/errors
  if [ "${COPY_SECRETS-}" = stdin ]; then
    secrets=$work/secrets
    mkdir -p "$secrets"
    head -c 1048576 >"$secrets/all"
    head -n 1 "$secrets/all" >"$secrets/key"
    tail -n +2 "$secrets/all" >"$secrets/rclone.conf"
    rm "$secrets/all"
  fi
  remote=$(sed -n 's/^[[:space:]]*\[\(.*\)\][[:space:]]*$/\1/p' "$secrets/rclone.conf" | head -n 1)
  [ -n "$remote" ] || die "backupCopyConfig has no [remote]"
  base=$remote:$COPY_PATH
  place=$base
  # Some storages hand out new tokens, which rclone keeps in its configuration: made anew only where it is another one.
  sum=$(cat "$secrets/rclone.conf" "$secrets/key" 2>/dev/null | sha256sum)
  if [ "$(cat "$work/made-from" 2>/dev/null)" != "$sum $COPY_PATH" ] || ! [ -s "$conf" ]; then
    cat "$secrets/rclone.conf" >"$conf"
    if [ "$COPY_ENCRYPTION" = on ]; then
      obscured=$(head -n 1 "$secrets/key" | tr -d '\r\n' | rclone obscure -)
      cat >>"$conf" <<END

[$encrypted]
type = crypt
remote = $base
filename_encryption = off
directory_name_encryption = false
password = $obscured
END
      obscured=
    fi
    echo "$sum $COPY_PATH" >"$work/made-from"
  fi
  if [ "$COPY_ENCRYPTION" = on ]; then
    target=$encrypted:
    suffix=.bin
  else
    target=$base
    suffix=
  fi
}

rc() { rclone "$@" --config "$conf" --log-level ERROR --contimeout 15s --timeout 2m --low-level-retries 3; }

# A path within the copy.
at() {
  case $target in
    *:) echo "$target$1" ;;
    *) echo "${target%/}/$1" ;;
  esac
}

# rclone's own words for what went wrong, on one line.
rclone_error() {
  grep -v '^[[:space:]]*$' "$errors" | sed 's/^[0-9/]* [0-9:]* //; s/^\(ERROR\|CRITICAL\|Failed\) *: *//' |
    tail -n 1 | tr '\t' ' ' | cut -c 1-300
}

# Of a file of `key=value` lines. Empty where there is no such line or file.
value() { [ ! -e "$1" ] || sed -n "s/^$2=//p" "$1" | head -n 1; }

# What is in the copy's folder as the storage has it: names of encrypted files end in .bin.
#
# @sets entries
look_at_remote() {
  if rc lsf "$base" --retries 1 >"$work/entries" 2>"$errors"; then :; else
    # 3: there is no such folder, which is how an empty one looks on many storages.
    [ $? -eq 3 ] || wrong "$place can't be reached: $(rclone_error)" || return 1
    : >"$work/entries"
  fi
}

has_entry() { grep -qxF "$1" "$work/entries"; }

# A small file of the copy. rclone's words for a wrong key depend on its version and the file's length: a key is wrong
# where the storage hands the file out and it can't be decrypted.
#
# @sets text
read_remote_file() {
  if text=$(rc cat "$(at "$1")" --retries 1 2>"$errors"); then return 0; fi
  why=$(rclone_error)
  if [ "$COPY_ENCRYPTION" = on ] && rc cat "${base%/}/$1$suffix" --retries 1 >"$work/raw" 2>"$errors" && [ -s "$work/raw" ]; then
    wrong "The key does not fit: the copy at $place was encrypted with another one. Set backupCopyKey to the key that it was made with. Nothing was written."
    return 1
  fi
  wrong "$place can't be read ($1): $why"
}

# What has to be said where the copy's encryption is not the setting's.
check_encryption() {
  if [ "$COPY_ENCRYPTION" = on ] && has_entry system-identifier; then
    wrong "The copy at $place is not encrypted, but backupCopyEncryption is on. Set backupCopyEncryption to false, or backupCopyPath to another folder."
  elif [ "$COPY_ENCRYPTION" = off ] && has_entry system-identifier.bin; then
    wrong "The copy at $place is encrypted, but backupCopyEncryption is off. Set backupCopyEncryption to true and backupCopyKey to its key, or backupCopyPath to another folder."
  fi
}

# Sees to it that the copy is this repository's, with this key. Only a folder with nothing in it is begun.
meet_remote() {
  if [ -s "$work/known" ] && read_remote_file system-identifier && [ "$text" = "$identifier" ]; then
    [ $(($(date +%s) - $(cat "$work/compared"))) -lt "${COPY_COMPARE_EVERY:-86400}" ] || compare_remote
    return
  fi
  look_at_remote || return 1
  check_encryption || return 1
  # The first file that a copy gets; alone, its writing may have been interrupted.
  grep -vxF "system-identifier$suffix" "$work/entries" >"$work/others" || :
  if ! [ -s "$work/others" ]; then
    begin_remote || return 1
  elif ! has_entry "system-identifier$suffix"; then
    wrong "$place has other files in it, and is no copy of a backup repository. Set backupCopyPath to a folder of its own." || return 1
  fi
  read_remote_file system-identifier || return 1
  [ "$text" = "$identifier" ] ||
    wrong "The copy at $place is of another database server: its system identifier is $text, that of this repository is $identifier. Nothing was copied. To keep that copy, set backupCopyPath to another folder; to restore from it, see docs/backups-copy.md." || return 1
  read_remote_file stack || return 1
  [ "$text" = "$COPY_STACK" ] ||
    wrong "The copy at $place is of stack $text, this is $COPY_STACK. Nothing was copied. Set backupCopyPath to a folder of its own." || return 1
  compare_remote
}

begin_remote() {
  say "beginning a new copy at $place"
  echo "$COPY_STACK" >"$work/stack"
  put "$REPOSITORY/system-identifier" system-identifier && put "$work/stack" stack && put "$REPOSITORY/FORMAT" FORMAT
}

# Sends one file, whatever is there.
put() {
  rc copyto "$1" "$(at "$2")" --ignore-times --retries 1 2>"$errors" || wrong "$place can't be written ($2): $(rclone_error)"
}

# The copy's files with their sizes. Kept from then on, so that a round needs no listing of thousands of files.
compare_remote() {
  rm -f "$work/known"
  list_remote >"$work/listed" || return 1
  date +%s >"$work/compared"
  # Never empty: that would be no list.
  { echo "/$tab"0 && cat "$work/listed"; } >"$work/known"
}

list_remote() {
  rc lsf "$target" -R --files-only --format ps --separator "$tab" --retries 2 2>"$errors" ||
    wrong "The files of $place can't be listed: $(rclone_error)"
}

# Names of whole backups in a list of files: the two that are sent last are there.
whole_backups() {
  awk -F'\t' '
    split($1, part, "/") == 3 && part[1] == "backups" && part[2] ~ /^[0-9]+T[0-9]+Z-(full|incr)$/ {
      if (part[3] == "SHA256SUMS" || part[3] == "backup.conf") marks[part[2]]++
    }
    END { for (id in marks) if (marks[id] == 2) print id }' "$1" | sort
}
