import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { connect, parseConnection, tlsOptions } from "../../migrator/connection.ts";
import { MigratorError } from "../../migrator/errors.ts";

const pem = "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n";
const defaults = { applicationName: "test" };

function message(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof MigratorError) return error.message;
    throw error;
  }
  throw new Error("no error");
}

describe("reading a connection URL", () => {
  it("takes its parts", () => {
    expect(parseConnection("postgres://user:secret@db.example:6432/app?sslmode=require", defaults)).toEqual({
      host: "db.example",
      port: 6432,
      database: "app",
      user: "user",
      password: "secret",
      sslMode: "require",
      sslRootCert: undefined,
      applicationName: "test",
    });
  });

  it("decodes names and passwords of any characters", () => {
    const hostile = `a'b"c d%e$f/g?h#i@j:k+ü🙂`;
    const part = encodeURIComponent(hostile);
    const { user, password, database } = parseConnection(
      `postgresql://${part}:${part}@127.0.0.1/${part}?sslmode=disable`,
      defaults,
    );
    expect([user, password, database]).toEqual([hostile, hostile, hostile]);
  });

  it("takes IPv6, a default port, a Unix socket and an application name", () => {
    const v6 = parseConnection("postgres://u@[::1]/app?sslmode=disable&application_name=a+b%20c", defaults);
    expect(v6).toMatchObject({ host: "::1", port: 5432, password: undefined, applicationName: "a+b c" });
    const socket = parseConnection("postgres://u@%2Frun%2Fpostgresql/app", defaults);
    expect(socket).toMatchObject({ host: "/run/postgresql", sslMode: "disable" });
  });

  it("reads the CA of sslrootcert", () => {
    const folder = mkdtempSync(join(tmpdir(), "ca-"));
    try {
      const file = join(folder, "ca.pem");
      writeFileSync(file, pem);
      const url = `postgres://u@h/app?sslmode=verify-full&sslrootcert=${encodeURIComponent(file)}`;
      expect(parseConnection(url, defaults).sslRootCert).toBe(pem);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.each([
    [
      "no sslmode",
      "postgres://u:hush@h/app",
      [
        "DB_SOURCE cannot be used:",
        "  - it has no sslmode: add ?sslmode= and one of disable, require, verify-ca, verify-full",
      ],
    ],
    [
      "a mode that promises nothing",
      "postgres://u:hush@h/app?sslmode=prefer",
      [
        "DB_SOURCE cannot be used:",
        '  - sslmode "prefer" is not known here: use one of disable, require, verify-ca, verify-full',
      ],
    ],
    [
      "verification without a CA",
      "postgres://u:hush@h/app?sslmode=verify-full",
      [
        "DB_SOURCE cannot be used:",
        '  - sslmode "verify-full" needs the CA\'s certificate: give it in DB_SSLROOTCERT_PEM or as sslrootcert=FILE',
      ],
    ],
    [
      "a CA file that is not there",
      "postgres://u:hush@h/app?sslmode=verify-ca&sslrootcert=/nowhere/ca.pem",
      [
        "DB_SOURCE cannot be used:",
        "  - the CA file of sslrootcert cannot be read: ENOENT: no such file or directory, open '/nowhere/ca.pem'",
      ],
    ],
    [
      "unknown parameters",
      "postgres://u:hush@h/app?sslmode=disable&options=-cx&foo=bar",
      [
        "DB_SOURCE cannot be used:",
        '  - the parameter "options" is not known here: it takes sslmode, sslrootcert, application_name',
        '  - the parameter "foo" is not known here: it takes sslmode, sslrootcert, application_name',
      ],
    ],
    [
      "missing parts",
      "postgres://h?sslmode=disable",
      ["DB_SOURCE cannot be used:", "  - it has no database", "  - it has no user"],
    ],
    [
      "another kind of URL",
      "mysql://u:hush@h/app",
      [
        "DB_SOURCE cannot be used:",
        "  - it is not a URL of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE, in which special characters are written as %XX",
      ],
    ],
    [
      "no URL",
      "host=h password=hush",
      [
        "DB_SOURCE cannot be used:",
        "  - it is not a URL of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE, in which special characters are written as %XX",
      ],
    ],
    [
      "a bad escape",
      "postgres://u:hush%@h/app?sslmode=disable",
      [
        "DB_SOURCE cannot be used:",
        "  - it is not a URL of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE, in which special characters are written as %XX",
      ],
    ],
    [
      "a bad port",
      "postgres://u:hush@h:99999/app?sslmode=disable",
      [
        "DB_SOURCE cannot be used:",
        "  - it is not a URL of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE, in which special characters are written as %XX",
      ],
    ],
  ])("explains %s, and never repeats the password", (_what, url, expected) => {
    const text = message(() => parseConnection(url, defaults));
    expect(text).not.toContain("hush");
    expect(text.split("\n")).toEqual(expected);
  });

  it("explains a CA that is not a certificate", () => {
    const url = "postgres://u@h/app?sslmode=verify-ca";
    expect(message(() => parseConnection(url, { ...defaults, sslRootCert: "nonsense" }))).toContain("PEM");
  });
});

describe("sslmode with libpq's meaning", () => {
  const certificate = { subject: { CN: "other" }, subjectaltname: "DNS:other" } as never;

  it("disable: no TLS", () => {
    expect(tlsOptions({ host: "h", sslMode: "disable", sslRootCert: pem })).toBe(false);
  });

  it("require without a CA: TLS, nothing verified", () => {
    expect(tlsOptions({ host: "h", sslMode: "require", sslRootCert: undefined })).toEqual({
      rejectUnauthorized: false,
      servername: "h",
    });
  });

  it.each(["require", "verify-ca"] as const)(
    "%s with a CA: the chain is verified, the name is not",
    (sslMode) => {
      const options = tlsOptions({ host: "h", sslMode, sslRootCert: pem });
      expect(options).toMatchObject({ ca: pem, rejectUnauthorized: true, servername: "h" });
      expect((options || undefined)?.checkServerIdentity?.("h", certificate)).toBeUndefined();
    },
  );

  it("verify-full: chain and name are verified, an address too", () => {
    for (const host of ["h", "127.0.0.1"]) {
      const options = tlsOptions({ host, sslMode: "verify-full", sslRootCert: pem });
      expect((options || undefined)?.checkServerIdentity?.("localhost", certificate)).toBeInstanceOf(Error);
    }
  });

  it("an address is no server name: RFC 6066", () => {
    expect(tlsOptions({ host: "127.0.0.1", sslMode: "require", sslRootCert: undefined })).toEqual({
      rejectUnauthorized: false,
    });
  });
});

describe("connecting", () => {
  async function refusal(url: string, patience: number): Promise<MigratorError> {
    return connect(parseConnection(url, defaults), patience).then(
      () => Promise.reject(new Error("connected")),
      (error: MigratorError) => error,
    );
  }

  it("tries again for a while where nothing listens, then says where and what to do", async () => {
    const begin = performance.now();
    const error = await refusal("postgres://u:hush@127.0.0.1:1/app?sslmode=disable", 300);
    expect(performance.now() - begin).toBeGreaterThan(100);
    expect(error.exitCode).toBe(3);
    expect(error.message.replace(/\d+ s\)/, "N s)")).toMatchInlineSnapshot(`
      "Cannot connect to database "app" at 127.0.0.1:1 as "u", sslmode disable (tried for N s):
        connect ECONNREFUSED 127.0.0.1:1
      What to do: see whether the server runs and listens there (\`docker ps\`, \`docker logs\`), then run again."
    `);
  });

  it("tries again where connections are accepted and dropped, as Docker's proxy does", async () => {
    let connections = 0;
    const server = createServer((socket) => {
      connections += 1;
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = server.address() as { port: number };
      const error = await refusal(`postgres://u:hush@127.0.0.1:${port}/app?sslmode=disable`, 500);
      expect(connections).toBeGreaterThan(2);
      expect(error.exitCode).toBe(3);
    } finally {
      server.close();
    }
  });

  it("says what to do where the server has no TLS, without trying again", async () => {
    let connections = 0;
    const server = createServer((socket) => {
      connections += 1;
      socket.once("data", () => socket.end("N"));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = server.address() as { port: number };
      const error = await refusal(`postgres://u:hush@127.0.0.1:${port}/app?sslmode=require`, 2_000);
      expect(connections).toBe(1);
      expect(error.message).toContain("turn TLS on at the server, or use sslmode=disable");
      expect(error.message).not.toContain("hush");
    } finally {
      server.close();
    }
  });
});
