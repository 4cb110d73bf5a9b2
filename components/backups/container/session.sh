# One session that stays open, so that a look at the server every few seconds costs next to nothing.

SESSION_PID=
SESSION_ERROR=

session_close() {
  [ -n "$SESSION_PID" ] || return 0
  exec {SESSION_IN}>&- {SESSION_OUT}<&-
  kill "$SESSION_PID" 2>/dev/null || true
  wait "$SESSION_PID" 2>/dev/null || true
  SESSION_PID=
}

session_open() {
  rm -f "$RUN/session.in" "$RUN/session.out"
  mkfifo "$RUN/session.in" "$RUN/session.out"
  # The backup's own statements never wait for the backup, also where commits do.
  PGAPPNAME=pgbackup PGOPTIONS='-c synchronous_commit=local -c statement_timeout=15s -c lock_timeout=5s' \
    psql -XAtqw -F '|' -v ON_ERROR_STOP=1 -v "slot=$BACKUP_SLOT" \
    <"$RUN/session.in" >"$RUN/session.out" 2>"$RUN/session.error" &
  SESSION_PID=$!
  exec {SESSION_IN}>"$RUN/session.in" {SESSION_OUT}<"$RUN/session.out"
}

# ask SQL: the rows in ANSWER. Fails with SESSION_ERROR where the server refuses or is not there.
ask() {
  local line
  ANSWER=
  [ -n "$SESSION_PID" ] || session_open
  if printf '%s;\n\\echo :end\n' "$1" >&"$SESSION_IN" 2>/dev/null; then
    while IFS= read -r -t 30 -u "$SESSION_OUT" line; do
      if [ "$line" = :end ]; then return 0; fi
      ANSWER+=${ANSWER:+$'\n'}$line
    done
  fi
  SESSION_ERROR=$(sed 's/^psql:<stdin>:[0-9]*: //' "$RUN/session.error" 2>/dev/null | one_line)
  SESSION_ERROR=${SESSION_ERROR:-the server did not answer}
  session_close
  return 1
}

# The same without a session of its own kept: for commands.
query() {
  PGAPPNAME=pgbackup PGOPTIONS='-c synchronous_commit=local -c statement_timeout=15s' \
    psql -XAtqw -F '|' -v ON_ERROR_STOP=1 -v "slot=$BACKUP_SLOT" <<<"$1"
}

# The tables for monitoring. Schema backups and the rights to it are made with the roles.
tables_sql() {
  cat <<'SQL'
CREATE TABLE IF NOT EXISTS backups.heartbeat (one boolean PRIMARY KEY DEFAULT true CHECK (one), at timestamptz NOT NULL, xid text NOT NULL);
CREATE TABLE IF NOT EXISTS backups.backup (id text PRIMARY KEY, kind text NOT NULL, started timestamptz NOT NULL, ended timestamptz NOT NULL, size_bytes bigint NOT NULL, ok boolean NOT NULL);
CREATE TABLE IF NOT EXISTS backups.restore_point (name text NOT NULL, lsn pg_lsn NOT NULL, made_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS backups.drill (id text PRIMARY KEY, started timestamptz NOT NULL, ended timestamptz NOT NULL, seconds numeric NOT NULL, ok boolean NOT NULL, backup text, newest_restorable timestamptz, rpo_seconds numeric, rto_seconds numeric, message text NOT NULL, checks text NOT NULL);
SQL
}
