import type { Connection, StackOutputs } from "../../cli/stack-outputs.ts";

export function connection(username: string, overrides: Partial<Connection> = {}): Connection {
  return {
    username,
    password: `${username}-secret`,
    database: "shop",
    host: { host: "127.0.0.1", port: 49153, source: `postgresql://${username}@127.0.0.1:49153/shop` },
    network: { host: "postgres", port: 5432, source: `postgresql://${username}@postgres:5432/shop` },
    ...overrides,
  };
}

/** Outputs of a development stack, as index.ts exports them. */
export function stackOutputs(overrides: Partial<StackOutputs> = {}): StackOutputs {
  return {
    DB_DRIVER: "postgres",
    connections: {
      app: connection("shop_app_a"),
      migrator: connection("shop_migrator"),
      readonly: connection("shop_reader"),
      monitor: connection("shop_monitor"),
      superuser: connection("postgres", { database: "postgres" }),
    },
    tls: { mode: "disable", ca: undefined },
    lifetime: "ephemeral",
    image: "postgres:17-trixie",
    containerName: "postgres-environments-development-postgres",
    networkName: "postgres-environments-development",
    volumeName: undefined,
    backupRepository: undefined,
    backupConnection: undefined,
    ...overrides,
  };
}
