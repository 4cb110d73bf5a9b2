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

  it("takes limits as times, and lets the migrator choose where they are left out", () => {
    expect(readInput(complete)).toMatchObject({
      lockTimeout: undefined,
      statementTimeout: undefined,
      lockRetries: undefined,
      revertMissing: false,
    });
    const limits = {
      MIGRATIONS_LOCK_TIMEOUT: "500ms",
      MIGRATIONS_STATEMENT_TIMEOUT: "0",
      MIGRATIONS_LOCK_RETRIES: "0",
      MIGRATIONS_MISSING: "revert",
    };
    expect(readInput({ ...complete, ...limits })).toMatchObject({
      lockTimeout: 500,
      statementTimeout: 0,
      lockRetries: 0,
      revertMissing: true,
    });
  });

  it("names limits that are none", () => {
    const limits = {
      MIGRATIONS_LOCK_TIMEOUT: "5",
      MIGRATIONS_STATEMENT_TIMEOUT: "long",
      MIGRATIONS_LOCK_RETRIES: "-1",
      MIGRATIONS_MISSING: "yes",
    };
    expect(() => readInput({ ...complete, ...limits })).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The environment of the migrator is not complete:
        - MIGRATIONS_LOCK_TIMEOUT is "5": expected a time with its unit (ms, s, min, h), such as 500ms or 5s, or 0 for no limit
        - MIGRATIONS_STATEMENT_TIMEOUT is "long": expected a time with its unit (ms, s, min, h), such as 500ms or 5s, or 0 for no limit
        - MIGRATIONS_LOCK_RETRIES is "-1": expected a number from 0 to 99
        - MIGRATIONS_MISSING is "yes": expected "revert", or nothing]
    `);
  });

  it("names everything that is missing at once", () => {
    expect(() => readInput({})).toThrowErrorMatchingInlineSnapshot(`
      [InputError: The environment of the migrator is not complete:
        - DB_SOURCE is missing: the migrator's connection URL
        - MIGRATIONS_DIR is missing: the folder of the migrations
        - MIGRATIONS_SCHEMA is missing: the application's schema]
    `);
  });

  it("refuses the schema of its own record for the application", () => {
    expect(() => readInput({ ...complete, MIGRATIONS_SCHEMA: "migrations" })).toThrow(/choose another/);
  });
});
