-- Scripts in this folder run once, as the superuser, when an empty data directory is first started, and never
-- again: every later change is a migration. They run in template1, so that the application's database, which is
-- made from it afterwards, gets what they make. Here belongs what only the superuser may do.

-- By default every role that can connect may make large objects, so that even a read-only role can fill the
-- disk, and nothing shows in any table. The application's roles are to create nothing: no one needs these.
REVOKE EXECUTE ON FUNCTION
  pg_catalog.lo_creat(integer),
  pg_catalog.lo_create(oid),
  pg_catalog.lo_from_bytea(oid, bytea)
FROM PUBLIC;
