/** Where the program's files arrive in the container (uploads belong to root). */
export const uploadFolder = "/opt/postgresql-environment";

/** Where the entrypoint puts those that the server reads, owned by the server's user and closed to others. */
const runFolder = "/run/postgresql-environment";

/** Files that the server reads. */
export interface ServerFiles {
  readonly configuration: string;
  readonly hba: string;
  readonly ident: string;
  readonly certificate: string;
  readonly key: string;
}

/** Name of each in its folder. */
export const fileNames: ServerFiles = {
  configuration: "postgresql.conf",
  hba: "pg_hba.conf",
  ident: "pg_ident.conf",
  certificate: "server.crt",
  key: "server.key",
};

/**
 * Where the server finds its files.
 * @param configurationFolder of a persistent environment: `reload/` brings them into the running server, and they stay
 * on the volume. Undefined: the entrypoint puts them into place at each start of an ephemeral one, which never has others.
 */
export function serverFiles(configurationFolder: string | undefined): ServerFiles {
  const folder = configurationFolder === undefined ? runFolder : `${configurationFolder}/current`;
  return Object.fromEntries(
    Object.entries(fileNames).map(([key, name]) => [key, `${folder}/${name}`]),
  ) as unknown as ServerFiles;
}

/**
 * Where the data is kept in the container.
 *
 * Images up to 17 declare a volume at /var/lib/postgresql/data, so ours has to be mounted at that very place;
 * 18 moved the volume one folder up and the data to a folder with the major version in its name
 * (github.com/docker-library/postgres, pull request 1259). The data directory is a folder below the mount
 * in both cases, so that the entrypoint has a place for a mark of its own beside it, and the configuration one that
 * survives the container and is in no backup of the data.
 */
export function dataPaths(majorVersion: number): {
  mount: string;
  dataDirectory: string;
  configuration: string;
} {
  return majorVersion >= 18
    ? {
        mount: "/var/lib/postgresql",
        dataDirectory: `/var/lib/postgresql/${majorVersion}/docker`,
        configuration: "/var/lib/postgresql/configuration",
      }
    : {
        mount: "/var/lib/postgresql/data",
        dataDirectory: "/var/lib/postgresql/data/pgdata",
        configuration: "/var/lib/postgresql/data/configuration",
      };
}
