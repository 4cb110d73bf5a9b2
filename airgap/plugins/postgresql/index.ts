import { servePlugin } from "../common/plugin.ts";
import type { Schema } from "../common/schema.ts";
import type { Properties } from "../common/values.ts";
import { bridged } from "./bridge.ts";
import { Server } from "./connection.ts";
import { database } from "./database.ts";
import { defaultPrivileges } from "./default-privileges.ts";
import { extension } from "./extension.ts";
import { grant } from "./grant.ts";
import { grantRole } from "./grant-role.ts";
import { role } from "./role.ts";
import { schema } from "./schema.ts";
import { atLeast, flag, text, whole } from "./state.ts";

const config: Schema = {
  host: { kind: "string", default: () => process.env.PGHOST || "localhost" },
  port: { kind: "integer", default: () => Number(process.env.PGPORT || 5432) },
  username: { kind: "string", default: () => process.env.PGUSER || "postgres" },
  password: { kind: "string", secret: true, default: () => process.env.PGPASSWORD },
  database: { kind: "string", default: () => process.env.PGDATABASE || "postgres" },
  databaseUsername: { kind: "string" },
  sslmode: { kind: "string", default: () => process.env.PGSSLMODE },
  sslrootcert: { kind: "string" },
  superuser: { kind: "boolean", default: () => process.env.PGSUPERUSER !== "false" },
  connectTimeout: { kind: "integer", default: 180, validate: atLeast(-1, "connect_timeout") },
  maxConnections: { kind: "integer", default: 20, validate: atLeast(-1, "max_connections") },
  expectedVersion: { kind: "string" },
};

function connect(values: Properties): Server {
  const expected = Number.parseInt(text(values, "expectedVersion"), 10);
  return new Server({
    host: text(values, "host"),
    port: whole(values, "port"),
    username: text(values, "username"),
    password: text(values, "password"),
    database: text(values, "database"),
    databaseUsername: text(values, "databaseUsername"),
    sslmode: text(values, "sslmode"),
    sslrootcert: text(values, "sslrootcert"),
    superuser: flag(values, "superuser"),
    connectTimeout: whole(values, "connectTimeout"),
    maxConnections: whole(values, "maxConnections"),
    // 9.0.0 is the genuine default, and means that the server is asked.
    expectedMajorVersion: Number.isNaN(expected) || expected === 9 ? undefined : expected,
  });
}

servePlugin({
  name: "postgresql",
  version: "3.18.1",
  base: "sdk",
  config,
  configure: connect,
  resources: [
    bridged(role, { searchPaths: "search_path" }),
    bridged(database),
    bridged(schema, { policies: "policy" }),
    bridged(extension),
    bridged(grant),
    bridged(grantRole),
    bridged(defaultPrivileges),
  ],
});
