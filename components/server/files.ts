/** Where the program's files arrive in the container (uploads belong to root). */
export const uploadFolder = "/opt/postgresql-environment";

/** Where the entrypoint puts those that the server reads, owned by the server's user and closed to others. */
const runFolder = "/run/postgresql-environment";

export const serverFiles = {
  hba: `${runFolder}/pg_hba.conf`,
  ident: `${runFolder}/pg_ident.conf`,
  certificate: `${runFolder}/server.crt`,
  key: `${runFolder}/server.key`,
} as const;

/**
 * Where the data is kept in the container.
 *
 * Images up to 17 declare a volume at /var/lib/postgresql/data, so ours has to be mounted at that very place;
 * 18 moved the volume one folder up and the data to a folder with the major version in its name
 * (github.com/docker-library/postgres, pull request 1259). The data directory is a folder below the mount
 * in both cases, so that the entrypoint has a place for a mark of its own beside it.
 */
export function dataPaths(majorVersion: number): { mount: string; dataDirectory: string } {
  return majorVersion >= 18
    ? { mount: "/var/lib/postgresql", dataDirectory: `/var/lib/postgresql/${majorVersion}/docker` }
    : { mount: "/var/lib/postgresql/data", dataDirectory: "/var/lib/postgresql/data/pgdata" };
}
