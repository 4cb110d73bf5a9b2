# Sourced by the image's entrypoint among the init scripts of a new data directory.
psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet -U "$POSTGRES_USER" -d postgres -f /run/postgresql-environment/bootstrap.sql
