import type { MajorVersion } from "../settings/image.ts";

/** Where uploads arrive in a container; they belong to root. */
const folder = "/opt/postgresql-environment";

export const exporterFiles = {
  config: `${folder}/postgres_exporter.yml`,
  queries: `${folder}/queries.yml`,
  password: `${folder}/password`,
  ca: `${folder}/ca.crt`,
} as const;

export const exporterPort = 9187;
export const nodeExporterPort = 9100;

/** Flags that exist in each version from 0.17 to 0.20. */
export function exporterCommand(majorVersion: MajorVersion): string[] {
  return [
    `--web.listen-address=:${exporterPort}`,
    // Empty: without one, it warns at every start.
    `--config.file=${exporterFiles.config}`,
    `--extend.query-path=${exporterFiles.queries}`,
    "--collector.postmaster",
    "--collector.database_wraparound",
    // Older servers have these numbers in pg_stat_bgwriter, and the collector would log so at every scrape.
    ...(majorVersion >= 17 ? ["--collector.stat_checkpointer"] : []),
  ];
}

/**
 * How the exporter connects: no part of it is a secret, the password comes from a file.
 * @param ownCertificate whether the team brought it along: it may not name the server as containers do
 */
export function exporterEnvironment(options: {
  user: string;
  database: string;
  host: string;
  port: number;
  tls: boolean;
  ownCertificate: boolean;
}): string[] {
  const parameters = new URLSearchParams({
    application_name: "exporter",
    connect_timeout: "5",
    ...(options.tls
      ? { sslmode: options.ownCertificate ? "verify-ca" : "verify-full", sslrootcert: exporterFiles.ca }
      : { sslmode: "disable" }),
  });
  const database = encodeURIComponent(options.database);
  return [
    `DATA_SOURCE_URI=${options.host}:${options.port}/${database}?${parameters}`,
    `DATA_SOURCE_USER=${options.user}`,
    `DATA_SOURCE_PASS_FILE=${exporterFiles.password}`,
  ];
}

/** Below it, the node exporter has each volume that it watches. */
export const volumesFolder = "/volumes";

export const nodeExporterCommand: readonly string[] = [
  `--web.listen-address=:${nodeExporterPort}`,
  "--collector.disable-defaults",
  "--collector.filesystem",
];
