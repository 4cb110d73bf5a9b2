import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { fetchCopy } from "../../backup/fetch-copy.ts";
import { copyImage } from "../../components/backups/copy-image.ts";
import { containerLog, docker, image, testLabel, testRun } from "../support/docker.ts";

// A server, its backup and the copy of that, each in a container; the storage is rclone itself, which serves WebDAV and
// SFTP. Without Pulumi: what it makes of the settings is the component's test and the production stack's.

const run = promisify(execFile);
const id = randomBytes(3).toString("hex");
const name = (role: string) => `backup-copy-${id}-${role}`;
const labels = { [testLabel]: testRun };
const label = ["--label", `${testLabel}=${testRun}`];
const containers = new URL("../../components/backups/", import.meta.url).pathname;
const program = "/program/copy";
const marker = "customer-of-the-backup-copy";
const key = randomBytes(20).toString("hex");
const password = randomBytes(12).toString("hex");
const stack = "shop/production";

let folder: string;
let webdav: string;
let sftp: string;

async function until(what: string, condition: () => Promise<boolean>, seconds = 120): Promise<void> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(250)) {
    if (await condition()) return;
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}

/** What a command that fails says. */
async function failure(...args: string[]): Promise<string> {
  const failed: { stdout?: string; stderr?: string } = await docker(...args).then(
    () => {
      throw new Error(`it succeeded: docker ${args.join(" ")}`);
    },
    (error: { stdout?: string; stderr?: string }) => error,
  );
  return `${failed.stdout ?? ""}${failed.stderr ?? ""}`.trim();
}

async function volume(role: string): Promise<string> {
  return docker("volume", "create", ...label, name(role));
}

async function remove(...roles: string[]): Promise<void> {
  for (const role of roles) await docker("rm", "--force", "--volumes", name(role)).catch(() => {});
}

/** A container with one of the program's folders in it, as the component makes it. */
async function start(
  role: string,
  from: string,
  args: readonly string[],
  files: Readonly<Record<string, string>> = {},
): Promise<void> {
  const place = join(folder, role);
  cpSync(join(containers, from), place, { recursive: true });
  for (const [file, content] of Object.entries(files)) {
    writeFileSync(join(place, file), content, { mode: 0o600 });
  }
  await docker("create", "--name", name(role), "--init", "--network", name("network"), ...label, ...args);
  await docker("cp", place, `${name(role)}:/program`);
  await docker("start", name(role));
}

const database = [
  "PGHOST=server",
  "PGPORT=5432",
  "PGUSER=postgres",
  "PGDATABASE=app",
  "PGSSLMODE=disable",
  "SUPERUSER=postgres",
];
const variables = (...values: string[]) => values.flatMap((value) => ["--env", value]);

async function startBackup(): Promise<void> {
  await start("backup", "container", [
    ...["--volume", `${name("repository")}:/repository`],
    ...variables(...database, "HEARTBEAT_EVERY=5"),
    ...["--entrypoint", "/program/entrypoint", image, "run"],
  ]);
}

interface CopyOptions {
  readonly role?: string;
  readonly config?: string;
  readonly path?: string;
  readonly repository?: string;
  readonly encryption?: "on" | "off";
  readonly stack?: string;
  readonly key?: string;
  readonly extra?: readonly string[];
}

async function startCopy(options: CopyOptions = {}): Promise<void> {
  await start(
    options.role ?? "copy",
    "copy-container",
    [
      ...["--cap-drop", "ALL", "--cap-add", "DAC_READ_SEARCH", "--security-opt", "no-new-privileges"],
      ...["--volume", `${name(options.repository ?? "repository")}:/repository:ro`],
      ...variables(
        ...["REPOSITORY=/repository", "COPY_STATE=/state", "COPY_EVERY=5"],
        `COPY_PATH=${options.path ?? "shop/production"}`,
        `COPY_ENCRYPTION=${options.encryption ?? "on"}`,
        `COPY_STACK=${options.stack ?? stack}`,
        ...(options.extra ?? []),
      ),
      ...["--entrypoint", program, copyImage, "run"],
    ],
    { "rclone.conf": options.config ?? webdav, key: `${options.key ?? key}\n` },
  );
}

const copy = (...args: string[]) => docker("exec", name("copy"), program, ...args);
const copyNow = () => copy("now");

async function status(role = "copy"): Promise<Record<string, string>> {
  const text = await docker("exec", name(role), program, "status").catch(() => "");
  return Object.fromEntries(text.split("\n").map((line) => line.split(/=(.*)/s, 2) as [string, string]));
}

/** A command in the storage's container, which has the files as they were sent. */
const store = (command: string) => docker("exec", name("store"), "sh", "-c", command);

/** Names of the storage's files. */
async function stored(): Promise<string[]> {
  return (await store("cd /data && find . -type f | sort")).split("\n").map((path) => path.slice(2));
}

const psql = (sql: string, server = "server") =>
  docker("exec", name(server), "psql", "-XAtqw", "-U", "postgres", "-d", "app", "-c", sql);

async function addRows(count: number): Promise<void> {
  await psql(`INSERT INTO customer (note) SELECT '${marker} ' || i FROM generate_series(1, ${count}) i`);
}

const pgbackup = (...args: string[]) => docker("exec", name("backup"), "/program/pgbackup", ...args);

/** Every row that is there now is in the copy when this comes back. */
async function copyEverything(): Promise<void> {
  const lsn = await psql("SELECT pg_current_wal_flush_lsn()");
  await until("the backup has it", async () => {
    const text = await docker("exec", name("backup"), "cat", "/repository/state/status.conf");
    const received = /^received_lsn=(.*)$/m.exec(text)?.[1] ?? "0/0";
    return (await psql(`SELECT '${received}'::pg_lsn >= '${lsn}'::pg_lsn`)) === "t";
  });
  await copyNow();
}

/** Fetches the copy into a volume; what was printed. */
async function fetchInto(
  role: string,
  secrets: { config?: string; key?: string; path?: string; encryption?: string } = {},
): Promise<string> {
  // What it prints is the child process's: it is read from the container, which is gone at the end.
  const script = `
    import { fetchCopy } from ${JSON.stringify(new URL("../../backup/fetch-copy.ts", import.meta.url).href)};
    import { text } from "node:stream/consumers";
    fetchCopy(JSON.parse(await text(process.stdin))).catch((error) => {
      console.error(error.message);
      process.exitCode = 1;
    });`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", script], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const fetch: Parameters<typeof fetchCopy>[0] = {
    name: name("fetch"),
    repository: name(role),
    image,
    labels,
    environment: {
      REPOSITORY: "/repository",
      COPY_PATH: secrets.path ?? "shop/production",
      COPY_ENCRYPTION: secrets.encryption ?? "on",
      COPY_STACK: stack,
    },
    secrets: { config: secrets.config ?? webdav, key: secrets.key ?? key },
    network: name("network"),
  };
  child.stdin.end(JSON.stringify(fetch));
  await new Promise((resolve) => child.on("close", resolve));
  return output;
}

const filesIn = async (role: string) =>
  docker(
    "run",
    "--rm",
    ...label,
    "--volume",
    `${name(role)}:/r`,
    "--entrypoint",
    "find",
    image,
    "/r",
    "-type",
    "f",
  );

async function startServer(role: string, args: readonly string[]): Promise<void> {
  await docker(
    ...["run", "--detach", "--name", name(role), "--network", name("network"), ...label],
    ...["--network-alias", role, ...variables("POSTGRES_HOST_AUTH_METHOD=trust", "POSTGRES_DB=app")],
    ...args,
  );
  await until(`${role} answers`, () =>
    docker("exec", name(role), "pg_isready", "-qh", "127.0.0.1", "-U", "postgres").then(
      () => true,
      () => false,
    ),
  );
}

async function obscured(text: string): Promise<string> {
  const child = run("docker", ["run", "--rm", "--interactive", ...label, copyImage, "obscure", "-"]);
  child.child.stdin?.end(text);
  return (await child).stdout.trim();
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "backup-copy-"));
  await docker("network", "create", ...label, name("network"));
  await Promise.all(["repository", "state"].map(volume));
  // As the stack has it: the schema is made for the role that makes backups.
  await Promise.all([
    startServer("server", [...["--tmpfs", "/var/lib/postgresql/data"], image]).then(async () => {
      await docker(
        ...["exec", "--user", "postgres", name("server"), "sh", "-c"],
        "echo 'host replication all all trust' >>$PGDATA/pg_hba.conf && psql -qc 'SELECT pg_reload_conf()' >/dev/null",
      );
      await psql("CREATE SCHEMA backups; CREATE TABLE customer (id serial PRIMARY KEY, note text)");
      await addRows(1000);
    }),
    docker(
      ...[
        "run",
        "--detach",
        "--name",
        name("store"),
        "--network",
        name("network"),
        "--network-alias",
        "store",
      ],
      ...[...label, ...variables(`RCLONE_USER=shop`, `RCLONE_PASS=${password}`)],
      ...[copyImage, "serve", "webdav", "/data", "--addr", ":8080", "--log-level", "ERROR"],
    ),
    obscured(password).then((pass) => {
      webdav = `[office]\ntype = webdav\nurl = http://store:8080\nvendor = other\nuser = shop\npass = ${pass}\n`;
      sftp = `[nas]\ntype = sftp\nhost = store-sftp\nport = 2022\nuser = shop\npass = ${pass}\n`;
    }),
  ]);
  await startBackup();
  await startCopy();
  await until("a first backup", async () => (await status()).backups === "1");
});

afterAll(async () => {
  const filter = `name=backup-copy-${id}-`;
  for (const container of (await docker("ps", "--all", "--quiet", "--filter", filter))
    .split("\n")
    .filter(Boolean)) {
    await docker("rm", "--force", "--volumes", container);
  }
  for (const each of (await docker("volume", "ls", "--quiet", "--filter", filter))
    .split("\n")
    .filter(Boolean)) {
    await docker("volume", "rm", "--force", each);
  }
  await docker("network", "rm", name("network"));
  rmSync(folder, { recursive: true });
});

vi.setConfig({ testTimeout: 900_000 });

describe("the copy", () => {
  it("is brought up to date within the time that is set, with the segment that is still open", async () => {
    await addRows(10);
    await copyEverything();
    expect(await status()).toMatchObject({
      state: "current",
      place: "office:shop/production",
      backups: "1",
      last_error: "",
    });
    expect((await status()).copied_until).toMatch(/^20\d\d-/);
    expect(JSON.parse(await copy("status", "--json"))).toMatchObject({
      state: "current",
      backups: 1,
      last_error: null,
    });
    expect(await copy("check")).toContain("1 whole backups");
    // A segment that was closed meanwhile has an archive until the next round has it whole.
    const recent = async () => (await stored()).filter((path) => path.includes("/recent/"));
    await expect.poll(recent).toHaveLength(1);
    const files = await stored();
    expect(files.filter((path) => /\/(receiving|scratch)\/|tmp|incomplete|\.lock/.test(path))).toEqual([]);
  });

  it("has nothing in plain text but names", async () => {
    expect((await stored()).filter((path) => !path.endsWith(".bin"))).toEqual([]);
    for (const text of [marker, key, await psql("SELECT system_identifier FROM pg_control_system()")]) {
      expect(await store(`grep -rlF '${text}' /data || true`)).toBe("");
    }
  });

  it("shows no secret to who looks at the container, its log or its processes", async () => {
    const places = [
      await docker("inspect", name("copy")),
      await containerLog(name("copy")),
      await docker("exec", name("copy"), "cat", "/state/status.conf"),
    ].join();
    for (const secret of [key, password, /pass = (.*)/.exec(webdav)?.[1] ?? ""])
      expect(places).not.toContain(secret);
    expect(
      await docker("exec", name("copy"), "stat", "-c", "%a", "/run/postgresql-environment-copy/rclone.conf"),
    ).toBe("600");
  });

  it("may read the repository and no more", async () => {
    expect(await failure("exec", name("copy"), "touch", "/repository/x")).toMatch(/Read-only|denied/);
  });

  it("is refused to another stack and another database server by name, and stays as it is", async () => {
    const before = await stored();
    await startCopy({ role: "copy-2", stack: "shop/staging" });
    await until("the refusal", async () => (await status("copy-2")).state === "failed");
    expect((await status("copy-2")).last_error).toBe(
      "The copy at office:shop/production is of stack shop/production, this is shop/staging. Nothing was copied. Set backupCopyPath to a folder of its own.",
    );
    await remove("copy-2");

    await volume("other");
    const other =
      "mkdir -p /r/backups /r/wal && echo 1 >/r/FORMAT && echo 7000000000000000001 >/r/system-identifier";
    await docker(
      "run",
      "--rm",
      ...label,
      "--volume",
      `${name("other")}:/r`,
      "--entrypoint",
      "sh",
      image,
      "-c",
      other,
    );
    await startCopy({ role: "copy-2", repository: "other" });
    await until("the refusal", async () => (await status("copy-2")).state === "failed");
    expect((await status("copy-2")).last_error).toMatch(
      /^The copy at office:shop\/production is of another database server: its system identifier is \d+, that of this repository is 7000000000000000001\. Nothing was copied\./,
    );
    await remove("copy-2");

    await startCopy({ role: "copy-2", key: "another key than the copy was made with" });
    await until("the refusal", async () => (await status("copy-2")).state === "failed");
    expect((await status("copy-2")).last_error).toContain("The key does not fit");
    await remove("copy-2");

    await startCopy({ role: "copy-2", encryption: "off" });
    await until("the refusal", async () => (await status("copy-2")).state === "failed");
    expect((await status("copy-2")).last_error).toContain("is encrypted, but backupCopyEncryption is off");
    await remove("copy-2");
    const here = await stored();
    expect(before.filter((path) => !path.includes("/recent/") && !here.includes(path))).toEqual([]);
  });

  it("keeps everything where the repository is lost, emptied or made anew", async () => {
    const kept = async () => (await stored()).filter((path) => !path.includes("/recent/"));
    await copyEverything();
    await remove("backup", "copy");
    const before = await kept();
    await volume("empty");
    await startCopy({ repository: "empty" });
    await until("it waits", async () => (await status()).state === "waiting");
    expect(await kept()).toEqual(before);
    await remove("copy");
    await startCopy();
    await startBackup();
    await until("it goes on", async () => (await status()).state === "current");
  });
});

describe("a storage that is away for a while", () => {
  it("is waited for, with the reason in the state, and then gets what it has missed", async () => {
    await docker("stop", "--time", "1", name("store"));
    await addRows(100);
    await until("the failure", async () => (await status()).state === "failed");
    expect((await status()).last_error).toMatch(/^office:shop\/production can't be (reached|read|written)/);
    expect(await copy("check")).toContain("the last try failed");
    await docker("start", name("store"));
    await copyEverything();
    expect((await status()).state).toBe("current");
    expect(await containerLog(name("copy"))).toContain("works again");
  });
});

describe("a copy that is interrupted", () => {
  it("goes on with the next start, and no half of a backup passes for a whole one", async () => {
    await remove("copy");
    await startCopy({ extra: ["RCLONE_BWLIMIT=2M"] });
    await until("it works", async () => (await status()).state === "current");
    await psql(`INSERT INTO customer (note) SELECT md5(random()::text) FROM generate_series(1, 20000)`);
    await pgbackup("now", "--full");
    await until(
      "a second backup is on its way",
      async () =>
        (await stored()).filter((path) => /backups\/.*base\.tar/.test(path)).length > 1 ||
        (await status()).state === "copying",
    );
    await docker("kill", name("copy"));
    const listed = async () => (await copy("list")).match(/-full/g)?.length;
    await remove("copy");
    await startCopy();
    await copyEverything();
    expect(await listed()).toBe(2);
    expect(await copy("verify")).toMatch(/\d+ files are as in the repository/);
  });
});

describe("a byte that flips in the storage", () => {
  it("is found by verify, which names the file and sends it anew", async () => {
    const [file = ""] = (await stored()).filter((path) => path.endsWith("base.tar.zst.bin"));
    await store(`printf X | dd of=/data/${file} bs=1 seek=5000 conv=notrunc 2>/dev/null`);
    const found = await failure("exec", name("copy"), program, "verify");
    const inRepository = file.replace(/^shop\/production\//, "").replace(/\.bin$/, "");
    expect(found).toContain(`damaged in the copy: ${inRepository}`);
    expect(found.match(/damaged in the copy/g)).toHaveLength(1);

    // Another backup is whole, so that there is a way back from the copy all the same.
    const printed = await fetchInto("damaged");
    expect(printed).toContain(`damaged in the copy: ${inRepository}`);
    expect(printed).toContain("WARNING");
    expect(printed).toMatch(/the repository has 1 whole backups/);

    expect(await copy("verify", "--repair")).toContain("sent 1 files anew");
    expect(await copy("verify")).toContain("files are as in the repository");
  });
});

describe("what the repository's retention deletes", () => {
  it("is deleted in the copy too, and nothing else", async () => {
    const before = await stored();
    // No window, for this one backup: those before it go. With one of a second, the backup of before its beginning stays
    // where this one ended within it.
    await docker(
      ...["exec", ...variables("BACKUP_WINDOW=0", "BACKUP_MINIMUM=1"), name("backup")],
      ...["/program/pgbackup", "now", "--full"],
    );
    await copyEverything();
    await until("the deletion", async () => (await copy("list")).match(/-full/g)?.length === 1);
    const after = await stored();
    const local = (
      await docker("exec", name("backup"), "sh", "-c", "cd /repository && find backups wal -type f")
    )
      .split("\n")
      .filter((path) => !path.includes(".tmp"));
    const there = after.map((path) => path.replace(/^shop\/production\//, "").replace(/\.bin$/, ""));
    expect(there.filter((path) => /^(backups|wal)\//.test(path)).toSorted()).toEqual(local.toSorted());
    expect(before.length).toBeGreaterThan(0);
  });
});

describe("a host that is lost", () => {
  let rows: string;

  it("leaves the copy alone: the server, the backup and every volume are gone", async () => {
    await addRows(123);
    rows = await psql("SELECT count(*) || ' ' || max(id) FROM customer");
    await copyEverything();
    await remove("server", "backup", "copy");
    await docker("volume", "rm", "--force", name("repository"));
  });

  it("is not restored with another key, nor into a repository that has something in it", async () => {
    await volume("wrong");
    const refused = await fetchInto("wrong", { key: "another key than the copy was made with" });
    expect(refused).toContain(
      "The key does not fit: the copy at office:shop/production was encrypted with another one",
    );
    expect(await filesIn("wrong")).toBe("");
    expect(await fetchInto("wrong", { path: "shop/nothing" })).toContain(
      "There is no copy at office:shop/nothing",
    );
    expect(await filesIn("wrong")).toBe("");

    const full = await fetchInto("other");
    expect(full).toContain("The repository is not empty");
    expect(await filesIn("other")).not.toContain("fetching");
  });

  it("gets its repository back, also when that is interrupted", async () => {
    const first = fetchInto("repository");
    await until("it has begun", async () =>
      (await filesIn("repository").catch(() => "")).includes(".fetching"),
    );
    await docker("kill", name("fetch")).catch(() => {});
    await first;
    const second = await fetchInto("repository");
    expect(second).toMatch(/the repository has 1 whole backups; the newest is \S+-full/);
    expect(await filesIn("repository")).not.toContain(".fetching");
    // A restore that failed afterwards begins here again.
    expect(await fetchInto("repository")).toContain("the repository has 1 whole backups");
  });

  it("is restored from it, with every row", async () => {
    await volume("data");
    await start("restore", "container", [
      ...["--volume", `${name("repository")}:/repository:ro`, "--volume", `${name("data")}:/data`],
      ...variables(
        "REPOSITORY=/repository",
        "SUPERUSER=postgres",
        "PGDATABASE=app",
        "RESTORE_DIR=/data/pgdata",
      ),
      ...["--entrypoint", "/program/entrypoint", image, "restore", "--into", "/data/pgdata", "latest"],
    ]);
    const code = await docker("wait", name("restore"));
    const log = await containerLog(name("restore"));
    expect(`${code}\n${log}`).toMatch(/^0\n[\s\S]*restored_to_lsn=/);
    await startServer("restored", [
      ...["--volume", `${name("data")}:/data`, ...variables("PGDATA=/data/pgdata")],
      image,
    ]);
    expect(await psql("SELECT count(*) || ' ' || max(id) FROM customer", "restored")).toBe(rows);
  });
});

describe("without encryption", () => {
  it("has the repository's files as they are, over SFTP too", async () => {
    await docker(
      ...["run", "--detach", "--name", name("store-sftp"), "--network", name("network"), ...label],
      ...["--network-alias", "store-sftp", ...variables("RCLONE_USER=shop", `RCLONE_PASS=${password}`)],
      ...[copyImage, "serve", "sftp", "/data", "--addr", ":2022", "--log-level", "ERROR"],
    );
    await remove("copy");
    const plain = { config: sftp, path: "plain", encryption: "off" } as const;
    await startCopy(plain);
    await until("a copy", async () => (await status()).backups === "1");
    expect(await copy("verify")).toContain("files are as in the repository");
    await fetchInto("plain", plain);
    const names = (text: string) =>
      text
        .split("\n")
        .filter((path) => /\/(backups|wal)\//.test(path))
        .toSorted();
    expect(names(await filesIn("plain"))).toEqual(names(await filesIn("repository")));
    // One that came from a copy may have more than one open segment, until a server goes on with it: the newest counts.
    const open = async (role: string) =>
      (await filesIn(role))
        .split("\n")
        .filter((path) => path.endsWith(".partial"))
        .toSorted()
        .at(-1);
    expect(await open("plain")).toBe(await open("repository"));
  });
});
