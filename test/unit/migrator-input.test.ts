import { describe, expect, it } from "vitest";
import { readInput } from "../../migrator/input.ts";

const complete = {
  DB_SOURCE: "postgres://app_migrator:hush@127.0.0.1:5432/app?sslmode=disable",
  MIGRATIONS_DIR: "migrations",
  MIGRATIONS_OWNER: "app_owner",
  MIGRATIONS_SCHEMA: "app",
};
const pem = "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n";

describe("the migrator's environment", () => {
  it("needs a connection, a folder, an owner and a schema; the target is the newest by default", () => {
    expect(readInput(complete)).toMatchObject({
      connection: { user: "app_migrator", applicationName: "postgresql-environments migrator" },
      folder: "migrations",
      owner: "app_owner",
      schema: "app",
      target: "",
    });
    expect(readInput({ ...complete, MIGRATIONS_TARGET: "3" }).target).toBe("3");
  });

  it("takes the CA as PEM or in base64", () => {
    for (const ca of [
      { DB_SSLROOTCERT_PEM: pem },
      { DB_SSLROOTCERT_BASE64: Buffer.from(pem).toString("base64") },
    ]) {
      const env = { ...complete, ...ca, DB_SOURCE: "postgres://u@h/app?sslmode=verify-full" };
      expect(readInput(env).connection.sslRootCert).toBe(pem);
    }
  });

  it("names everything that is missing at once", () => {
    expect(() => readInput({})).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The environment of the migrator is not complete:
        - DB_SOURCE is missing: the migrator's connection URL
        - MIGRATIONS_DIR is missing: the folder of the migrations
        - MIGRATIONS_OWNER is missing: the role that owns what migrations make
        - MIGRATIONS_SCHEMA is missing: the application's schema]
    `);
  });

  it("refuses the schema of its own record for the application", () => {
    expect(() => readInput({ ...complete, MIGRATIONS_SCHEMA: "migrations" })).toThrow(/choose another/);
  });
});
