import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { docker } from "../../support/docker.ts";
import { Containers, type StartOptions } from "./server.ts";

// What the official image promises: https://hub.docker.com/_/postgres. Nothing here is about the stand-in alone, so
// that the same tests hold for the genuine image.

const containers = new Containers();
afterAll(() => containers.removeAll());

const start = (options: StartOptions = {}) => containers.start(options);

/** Runs a container to its end. */
async function finished(options: StartOptions): Promise<{ code: number; log: string }> {
  const server = await start(options);
  return { code: await server.exitCode(), log: await server.log() };
}

describe("a new data directory", () => {
  it("gets the superuser, the password and the database of the environment", async () => {
    const server = await start({
      env: { POSTGRES_USER: "ad min", POSTGRES_PASSWORD: "pass w'ord", POSTGRES_DB: "d'b\"x" },
    });
    await server.ready();

    const own = { user: "ad min", database: "d'b\"x" };
    expect(
      await server.query("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user", own),
    ).toBe("ad min|t");
    const method = "SELECT DISTINCT left(rolpassword, 13) FROM pg_authid WHERE rolpassword IS NOT NULL";
    expect(await server.query(method, own)).toBe("SCRAM-SHA-256");
    expect(
      await server.query("SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database LIMIT 1", own),
    ).toBe("UTF8|en_US.utf8");
  });

  it("names the database after the user, and the user postgres, where neither is given", async () => {
    const server = await start({ env: { POSTGRES_USER: "admin", POSTGRES_PASSWORD: "secret" } });
    await server.ready();
    expect(await server.query("SELECT current_database()", { user: "admin" })).toBe("admin");

    const plain = await (await start()).ready();
    expect(await plain.query("SELECT current_user || current_database()")).toBe("postgrespostgres");
  });

  it("asks for the password over the network, whoever the client is", async () => {
    const server = await (await start()).ready();

    expect(await server.login("secret")).toBe("postgres");
    await expect(server.login("wrong")).rejects.toThrow("password authentication failed");
  });

  it("takes the values from files, without the newline at the end", async () => {
    const server = await start({
      env: {
        POSTGRES_PASSWORD_FILE: "/docker-entrypoint-initdb.d/password",
        POSTGRES_USER_FILE: "/docker-entrypoint-initdb.d/user",
      },
      initFiles: { password: "from file\n", user: "filed\n" },
    });
    await server.ready();

    expect(await server.login("from file", "filed")).toBe("filed");
  });

  it("is refused where a value is given twice", async () => {
    const { code, log } = await finished({ env: { POSTGRES_PASSWORD: "a", POSTGRES_PASSWORD_FILE: "/b" } });

    expect(code).toBe(1);
    expect(log).toMatch(/both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set/);
  });

  it("is refused without a password, with what to set", async () => {
    const { code, log } = await finished({ env: {} });

    expect(code).toBe(1);
    expect(log).toMatch(/POSTGRES_PASSWORD/);
    expect(log).not.toMatch(/ready for start up/);
  });

  it("lets everybody in where that is asked for, with a warning", async () => {
    const server = await (await start({ env: { POSTGRES_HOST_AUTH_METHOD: "trust" } })).ready();

    expect(await server.login("")).toBe("postgres");
    expect((await server.log()).toLowerCase()).toMatch(/warning.*trust|trust.*warning/s);
  });

  it("follows PGDATA, POSTGRES_INITDB_ARGS with quotes, and POSTGRES_INITDB_WALDIR", async () => {
    const server = await start({
      env: {
        POSTGRES_PASSWORD: "secret",
        PGDATA: "/var/lib/postgresql/data/below",
        POSTGRES_INITDB_ARGS: "--data-checksums --set 'log_line_prefix=%m a b '",
        POSTGRES_INITDB_WALDIR: "/var/lib/postgresql/wal",
      },
    });
    await server.ready();

    expect(await server.query("SHOW data_checksums")).toBe("on");
    expect(await server.query("SHOW data_directory")).toBe("/var/lib/postgresql/data/below");
    expect(await server.exec("readlink", "/var/lib/postgresql/data/below/pg_wal")).toBe(
      "/var/lib/postgresql/wal",
    );
    expect(
      await server.exec("grep", "^log_line_prefix", "/var/lib/postgresql/data/below/postgresql.conf"),
    ).toContain("'%m a b '");
  });

  it("can be made by a container that runs as an arbitrary user", async () => {
    const server = await start({
      options: ["--user=4711:4711", "--tmpfs=/var/lib/postgresql/data:uid=4711,gid=4711"],
    });
    await server.ready();

    expect(await server.exec("stat", "--format=%u", "/var/lib/postgresql/data/PG_VERSION")).toBe("4711");
    expect(await server.login("secret")).toBe("postgres");
  });
});

describe("init files", () => {
  it("run once, by name, each in its own way, in the database of the environment", async () => {
    const note = (name: string) =>
      `INSERT INTO noted VALUES ('${name}', current_database(), current_user);\n`;
    const server = await start({
      env: { POSTGRES_PASSWORD: "secret", POSTGRES_DB: "app" },
      initFiles: {
        "10-table.sql": "CREATE TABLE noted (id text, database text, login text);\n",
        "20-gz.sql.gz": gzipSync(note("gz")),
        "30-zst.sql.zst": zstdCompressSync(Buffer.from(note("zst"))),
        "40-run.sh!": `#!/bin/bash\nset -eu\npsql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "${note("run").trim()}"\nCARRIED=no\n`,
        "50-sourced.sh": "CARRIED=yes\n",
        "60-sourced.sh": `psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "INSERT INTO noted VALUES ('sourced $CARRIED', current_database(), current_user)"\n`,
        "70-readme.txt": "no SQL",
      },
    });
    await server.ready();

    const rows = "SELECT id, database, login FROM noted";
    expect((await server.query(rows, { user: "postgres", database: "app" })).split("\n")).toEqual([
      "gz|app|postgres",
      "zst|app|postgres",
      "run|app|postgres",
      "sourced yes|app|postgres",
    ]);
    expect(await server.log()).toMatch(/ignoring \/docker-entrypoint-initdb\.d\/70-readme\.txt/);
  });

  it("reach a server that is on the socket alone", async () => {
    const server = await start({
      initFiles: {
        "look.sh!": "#!/bin/bash\npg_isready -h 127.0.0.1 >/tmp/tcp || true\npg_isready >/tmp/socket\n",
      },
    });
    await server.ready();

    expect(await server.exec("cat", "/tmp/tcp")).toContain("no response");
    expect(await server.exec("cat", "/tmp/socket")).toContain("accepting connections");
  });

  it.each([
    [
      "an SQL file",
      { "1.sql": "SELECT 1;\nSELECT no_such_column;\n" },
      /1\.sql:2: ERROR: {2}column "no_such_column"/,
    ],
    ["a script that is run", { "1.sh!": "#!/bin/sh\necho broken script >&2\nexit 7\n" }, /broken script/],
    [
      "a script that is sourced",
      { "1.sh": "no_such_command_here\n" },
      /no_such_command_here: command not found/,
    ],
    ["a compressed file", { "1.sql.gz": gzipSync("SELECT no_such_column;\n") }, /column "no_such_column"/],
  ])("end the container with an error where %s fails", async (_, initFiles, message) => {
    const { code, log } = await finished({ initFiles: initFiles as Record<string, string> });

    expect(code).not.toBe(0);
    expect(log).toMatch(message);
    expect(log).not.toMatch(/init process complete/);
  });
});

describe("a data directory with a database", () => {
  it("is started as it is, and init files and passwords are passed over", async () => {
    const options = [`--volume=${await containers.volume()}:/var/lib/postgresql/data`];
    const first = await (await start({ options })).ready();
    await first.query("CREATE TABLE kept AS SELECT 1 AS id");
    await first.stop();
    const second = await start({
      options,
      env: { POSTGRES_PASSWORD: "another" },
      initFiles: { "1.sql": "CREATE TABLE never ();\n" },
    });
    await second.ready();

    expect(await second.query("SELECT id, to_regclass('never') IS NULL FROM kept")).toBe("1|t");
    expect(await second.login("secret")).toBe("postgres");
    expect(await second.log()).toMatch(/[Ss]kipping initialization/);
  });
});

describe("the server", () => {
  it("is the container's first process, as the user postgres, and stops cleanly at once", async () => {
    const server = await (await start()).ready();
    expect(await server.exec("sh", "-c", "stat --format=%U /proc/1; cat /proc/1/comm")).toBe(
      "postgres\npostgres",
    );
    // An open session must not delay the stop.
    await docker("exec", "--detach", server.id, "psql", "-U", "postgres", "-c", "SELECT pg_sleep(60)");
    await expect
      .poll(() => server.query("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(6%'"))
      .toBe("2");
    const began = performance.now();
    await server.stop();

    expect(performance.now() - began).toBeLessThan(10_000);
    expect(await server.exitCode()).toBe(0);
    expect(await server.log()).toMatch(/database system is shut down\s*$/);
  });

  it("is started with arguments alone, and asked for information without a database", async () => {
    const server = await (await start({ command: ["-c", "work_mem=7MB"] })).ready();
    expect(await server.query("SHOW work_mem")).toBe("7MB");

    const { code, log } = await finished({ env: {}, command: ["--version"] });
    expect(code).toBe(0);
    expect(log).toMatch(/^postgres \(PostgreSQL\) 17\./);
  });

  it("is left alone by other commands, which run as they are", async () => {
    const { code, log } = await finished({
      env: {},
      command: ["sh", "-c", "id -u; ls -A $PGDATA | wc -l; exit 5"],
    });

    expect(code).toBe(5);
    expect(log.trim().split("\n")).toEqual(["0", "0"]);
  });
});

describe("docker-ensure-initdb.sh", () => {
  it("makes a database and starts no server; docker-enforce-initdb.sh refuses where one is there", async () => {
    const options = [`--volume=${await containers.volume()}:/var/lib/postgresql/data`];
    const initFiles = { "1.sql": "CREATE TABLE made ();\n" };

    const made = await finished({ options, initFiles, command: ["docker-ensure-initdb.sh"] });
    expect(made.code).toBe(0);
    expect(made.log).toMatch(/CREATE TABLE/);
    expect((await finished({ options, command: ["docker-ensure-initdb.sh"] })).code).toBe(0);
    const refused = await finished({ options, command: ["docker-enforce-initdb.sh"] });
    expect(refused.code).toBe(1);
    expect(refused.log).toMatch(/\/var\/lib\/postgresql\/data/);
  });
});

it("the image says how it is run", async () => {
  const config = JSON.parse(
    await docker("image", "inspect", "--format={{json .Config}}", "postgres:17-trixie"),
  );

  expect(config).toMatchObject({
    Entrypoint: ["docker-entrypoint.sh"],
    Cmd: ["postgres"],
    StopSignal: "SIGINT",
    ExposedPorts: { "5432/tcp": {} },
    Volumes: { "/var/lib/postgresql/data": {} },
  });
  const env = Object.fromEntries(config.Env.map((entry: string) => entry.split(/=(.*)/s, 2)));
  expect(env).toMatchObject({ PG_MAJOR: "17", PGDATA: "/var/lib/postgresql/data", LANG: "en_US.utf8" });
  expect(env.PG_VERSION).toMatch(/^17\.\d+/);
  expect(env.PATH.split(":")).toContain("/usr/lib/postgresql/17/bin");
});
