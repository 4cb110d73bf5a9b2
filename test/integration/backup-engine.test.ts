import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BackupLab } from "../support/backup-lab.ts";
import { containerLog, docker } from "../support/docker.ts";

/** Times, sizes and positions differ from run to run. */
function steady(text: string): string {
  return text
    .replace(/\d{8}T\d{6}Z/g, "ID")
    .replace(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z|\+00)?/g, "TIME")
    .replace(/[0-9A-F]+\/[0-9A-F]+/g, "LSN");
}

describe("backups of PostgreSQL 17", () => {
  const lab = new BackupLab({ server: { summarize_wal: "on" } });
  const times: Record<string, string> = {};

  beforeAll(() => lab.start());
  afterAll(() => lab.remove());

  it("begin by themselves: a slot, a stream, a full backup, and what monitoring reads", async () => {
    await lab.until("the first backup is there", async () => (await lab.list()).backups.length === 1);
    await lab.untilReceived();
    const { backups, gaps, status, window } = await lab.list();
    expect(backups).toMatchObject([{ kind: "full", parent: null, timeline: 1, usable: true }]);
    expect(gaps).toEqual([]);
    expect(status).toMatchObject({ state: "streaming", slotState: "reserved", lastError: null, timeline: 1 });
    expect(window?.oldest).toBe(backups[0]?.ended);
    expect(await lab.sql("SELECT now() - at < interval '5 minutes' FROM backups.heartbeat")).toBe("true");
    expect(await lab.sql("SELECT kind || ok FROM backups.backup")).toBe("fulltrue");
    expect((await lab.pgbackup("backup", "healthy")).output).toBe("");
    expect(steady((await lab.pgbackup("backup", "check")).output)).toMatchInlineSnapshot(
      `"All is well. Can be restored: any point from TIME to TIME."`,
    );
  });

  it("take a backup when told to: the changes alone, and only when all before it is in the repository", async () => {
    await lab.sql("INSERT INTO shop.item SELECT i, 'second' FROM generate_series(1001, 1500) i");
    const { code, output } = await lab.pgbackup("backup", "now");
    expect(code, output).toBe(0);
    // Whether a segment before the full backup is there by now to be removed is a matter of time.
    const told = steady(output).replace(/: \d+ kB/, ": SIZE");
    expect(told.replace(/^Removed 1 WAL files .*\n/m, "")).toMatchInlineSnapshot(`
      "Base backup ID-incr begins (what has changed since ID-full)
      Base backup ID-incr is whole: SIZE
      Waits until all that was committed before is in the repository
      All up to LSN is in the repository"
    `);
    const { backups } = await lab.list();
    expect(backups.map(({ kind, parent }) => [kind, parent])).toEqual([
      ["full", null],
      ["incr", backups[0]?.id],
    ]);
  });

  it("have a password nowhere but in a file of the server's user", async () => {
    const seen = [
      await docker("inspect", lab.backup),
      await containerLog(lab.backup),
      (
        await lab.run("backup", [
          "bash",
          "-c",
          "cat /proc/*/cmdline /proc/*/environ 2>/dev/null | tr '\\0' ' '",
        ])
      ).output,
    ].join();
    expect(seen).toContain("shop_backup");
    expect(seen).not.toContain(lab.backupPassword);
  });

  describe("restored", () => {
    beforeAll(async () => {
      await lab.sql("INSERT INTO shop.item SELECT i, 'third' FROM generate_series(1501, 1600) i");
      await lab.sql(
        "INSERT INTO backups.restore_point (name, lsn) SELECT 'before 0007_x', pg_create_restore_point('before 0007_x')",
      );
      times.lsn = (await lab.sql("SELECT pg_current_wal_insert_lsn()")) ?? "";
      times.xid =
        (await lab.sql("INSERT INTO shop.item VALUES (1601, 'xid') RETURNING pg_current_xact_id()::text")) ??
        "";
      await lab.sql("INSERT INTO shop.item SELECT i, 'fourth' FROM generate_series(1602, 1700) i");
      times.before = (await lab.sql("SELECT clock_timestamp()::text")) ?? "";
      await lab.sql("DROP TABLE shop.item");
      await lab.sql("CREATE TABLE shop.other (id int); INSERT INTO shop.other VALUES (1), (2), (3)");
      await lab.untilReceived();
      await lab.until(
        "the restore point is listed",
        async () => (await lab.list()).restorePoints.length === 1,
      );
    });

    it.each([
      ["to the moment before a table was dropped", () => ["--target-time", times.before ?? ""], "1700"],
      ["to a restore point by its name", () => ["--target-name", "before 0007_x"], "1600"],
      ["to a position in the WAL", () => ["--target-lsn", times.lsn ?? ""], "1600"],
      ["to a transaction", () => ["--target-xid", times.xid ?? ""], "1601"],
    ])("%s, it has the rows of then", async (what, target, rows) => {
      const folder = `/data/${what.replaceAll(" ", "-")}`;
      const { code, output } = await lab.pgbackup("helper", "restore", "--into", folder, ...target());
      expect(code, output).toBe(0);
      expect(output.split("\n").at(-1)).toMatch(/^restored_to_lsn=\S+ restored_to_time=\S+ timeline=2$/);
      expect(await lab.ask(folder, "SELECT count(*) FROM shop.item")).toBe(rows);
      await lab.shell(`rm -rf ${folder}`);
    });

    it("to the newest point, it has all that was committed, and has run SQL that nobody can read", async () => {
      const { code, output } = await lab.run(
        "helper",
        [
          "/opt/postgresql-environment/backup/pgbackup",
          "restore",
          "--into",
          "/data/latest",
          "latest",
          "--sql",
          "-",
        ],
        "ALTER ROLE shop_monitor LOGIN PASSWORD 'not-to-be-seen';\nUPDATE shop.other SET id = id + 10;\n",
      );
      expect(code, output).toBe(0);
      expect(output).not.toContain("not-to-be-seen");
      expect(await lab.ask("/data/latest", "SELECT sum(id) FROM shop.other")).toBe("36");
      expect(
        await lab.shell(
          "grep -c '^recovery\\|^restore' /data/latest/postgresql.auto.conf || true; ls /data/latest | grep -c 'signal\\|unfinished\\|backup_label' || true",
        ),
      ).toBe("0\n0");
      const again = await lab.pgbackup("helper", "restore", "--into", "/data/latest", "latest");
      expect(again.code).toBe(1);
      expect(again.output).toMatchInlineSnapshot(`
        "The folder /data/latest is not empty. Nothing was changed.
        What to do: name an empty folder or a new one."
      `);
      await lab.shell("rm -rf /data/latest");
    });

    it("with SQL that fails, it says which statement's error it was, without the text of the SQL", async () => {
      const { code, output } = await lab.run(
        "helper",
        [
          "/opt/postgresql-environment/backup/pgbackup",
          "restore",
          "--into",
          "/data/wrong",
          "latest",
          "--sql",
          "-",
        ],
        "ALTER ROLE nobody_of_that_name PASSWORD 'not-to-be-seen';\n",
      );
      expect(code).toBe(1);
      expect(output).not.toContain("not-to-be-seen");
      expect(output.slice(output.indexOf("SQL in the"))).toMatchInlineSnapshot(`
        "SQL in the restored database
        SQL in the restored database failed: psql:standard input:1: ERROR: role "nobody_of_that_name" does not exist
        What to do: mend it and run it again; the restore begins afresh."
      `);
      expect(await lab.shell("ls -A /data/wrong; rm -rf /data/wrong")).toContain("restore-unfinished");
    });

    it.each([
      ["before the window", ["--target-time", "2001-02-03 04:05:06+00"]],
      ["after the window", ["--target-time", "2101-02-03 04:05:06+00"]],
      ["no backup of that id", ["--backup", "20010203T040506Z-full"]],
      ["no restore point of that name", ["--target-name", "before 0008_y"]],
      ["not a time", ["--target-time", "yesterdy"]],
      ["before all backups", ["--target-lsn", "0/1000000"]],
      ["two targets", ["--target-lsn", "0/1000000", "latest"]],
    ])("to a point that is not to be had (%s), it says what is, and changes nothing", async (_, target) => {
      const { code, output } = await lab.pgbackup("helper", "restore", "--into", "/data/none", ...target);
      expect(code).toBe(1);
      expect(steady(output)).toMatchSnapshot();
      expect(await lab.shell("ls -d /data/none 2>/dev/null || true")).toBe("");
    });
  });

  it("are proven by a drill, which keeps its result where monitoring reads it", async () => {
    const failed = await lab.pgbackup("helper", "drill", "--now");
    expect(failed.code).toBe(1);
    // The team's query asks for the table that was dropped.
    expect(failed.output).toContain("The drill failed: The drill's query failed: psql:");
    expect(failed.output).toContain('relation "shop.item" does not exist');
    await lab.sql("CREATE TABLE shop.item AS SELECT 1 AS id");
    await lab.untilReceived();
    const { code, output } = await lab.pgbackup("helper", "drill", "--now");
    expect(code, output).toBe(0);
    expect(
      steady(output.slice(output.indexOf("The drill passed")))
        .replace(/[\d.]+ s/g, "SECONDS s")
        .replace(/\d+ tables with \d+ rows/g, "N tables with N rows"),
    ).toMatchInlineSnapshot(`
      "The drill passed: backup ID-incr and its WAL to TIME: restored in SECONDS s, N tables with N rows read, no damage; SECONDS s behind
      Checks: heartbeat of TIME found; pg_amcheck: no damage; N tables with N rows read; the query is true; page checksums right"
    `);
    expect(await lab.sql("SELECT string_agg(ok::text, ' ' ORDER BY started) FROM backups.drill")).toBe(
      "false true",
    );
    expect(
      await lab.sql(
        "SELECT rto_seconds > 0 AND rpo_seconds >= 0 FROM backups.drill ORDER BY started DESC LIMIT 1",
      ),
    ).toBe("true");
    expect((await lab.list()).lastDrill).toMatchObject({ ok: true });
    expect(await lab.shell("ls /data/scratch")).not.toContain("drill");
    expect((await lab.pgbackup("helper", "check")).output).toMatch(/^All is well/);
  });

  it("are waited for by a drill's container that has never had one, and has none to do", async () => {
    // A new volume beside a repository that tells of a drill just now: another stack took the repository over.
    const script = `install -d -o postgres -m 0700 /data/new
      SCRATCH=/data/new DRILL_EVERY=86400 DRILL_POLL=77.5 setsid /opt/postgresql-environment/backup/pgbackup drill &
      drill=$!
      until grep -sqa 'sleep.77[.]5' /proc/[0-9]*/cmdline || ! kill -0 "$drill" 2>/dev/null; do sleep 0.1; done
      # Fails where it has ended by itself.
      kill "$drill"
      wait "$drill" || true
      rm -rf /data/new`;
    const { code, output } = await lab.run("helper", ["bash", "-ec", script]);
    expect([code, output]).toEqual([0, "Proves a restore every 24 hours"]);
  });

  it("are whole as far as verify can see, the repository and each file in it", async () => {
    const { code, output } = await lab.pgbackup("backup", "verify");
    expect(code, output).toBe(0);
    expect(output).toMatch(/^Whole: 2 backups/m);
    expect(JSON.parse((await lab.pgbackup("backup", "verify", "--json")).stdout)).toEqual({
      ok: true,
      problems: [],
    });
    expect(await lab.shell("ls /repository")).not.toContain("verify");
  });

  it("go when no point of the window needs them, and leave a list of what has gone", async () => {
    await lab.sql("SELECT pg_switch_wal()");
    const old = "wal/000000010000000000000000.zst";
    await lab.shell(`yes ${old} | head -n 1000 >>/repository/state/expired`);
    const env = ["BACKUP_WINDOW=0", "BACKUP_MINIMUM=1", "EXPIRED_BYTES=1000"];
    const { code, output } = await lab.run(
      "backup",
      ["/opt/postgresql-environment/backup/pgbackup", "now", "--full"],
      "",
      env,
    );
    expect(code, output).toBe(0);
    const { backups, gaps } = await lab.list();
    expect(backups.map(({ kind }) => kind)).toEqual(["full"]);
    expect(gaps).toEqual([]);
    const expired = (await lab.shell("cat /repository/state/expired")).split("\n");
    // Half of the bytes that are set, in whole lines.
    expect(expired.filter((path) => path === old)).toHaveLength(Math.floor(500 / (old.length + 1)));
    expect(expired.filter((path) => path.startsWith("backups/"))).toHaveLength(2);
    expect(expired.filter((path) => /^wal\/[0-9A-F]{24}\.zst$/.test(path)).length).toBeGreaterThan(0);
    for (const path of expired)
      expect(await lab.shell(`ls -d /repository/${path} 2>/dev/null || true`)).toBe("");
    const restored = await lab.pgbackup("helper", "restore", "--into", "/data/after", "latest");
    expect(restored.code, restored.output).toBe(0);
    await lab.shell("rm -rf /data/after");
  });

  it("refuse a repository of another cluster by name", async () => {
    await lab.shell(
      "cp /repository/system-identifier /data/identifier && echo 123 >/repository/system-identifier",
    );
    const { code, output } = await lab.pgbackup("backup", "now");
    await lab.shell("cp /data/identifier /repository/system-identifier");
    expect(code).toBe(1);
    expect(output.replace(/cluster \d{10,}/, "cluster N")).toMatchInlineSnapshot(`
      "The repository has the backups of cluster 123, the server at postgres:5432 is cluster N. Nothing was received. Give the new cluster a repository of its own, or restore the old one
      What to do: mend that, then run it again."
    `);
  });
});

describe("backups of PostgreSQL 15", () => {
  const lab = new BackupLab({ image: "postgres:15-bookworm" });
  beforeAll(() => lab.start());
  afterAll(() => lab.remove());

  it("are full ones, and are restored, verified and proven as the newer ones", async () => {
    await lab.until("the first backup is there", async () => (await lab.list()).backups.length === 1);
    const taken = await lab.pgbackup("backup", "now");
    expect(taken.code, taken.output).toBe(0);
    expect((await lab.list()).backups.map(({ kind }) => kind)).toEqual(["full", "full"]);
    await lab.sql("INSERT INTO shop.item SELECT i, 'more' FROM generate_series(1001, 1010) i");
    await lab.untilReceived();
    const restored = await lab.pgbackup("helper", "restore", "--into", "/data/latest", "latest");
    expect(restored.code, restored.output).toBe(0);
    expect(await lab.ask("/data/latest", "SELECT count(*) FROM shop.item")).toBe("1010");
    const verified = await lab.pgbackup("helper", "verify");
    expect(verified.code, verified.output).toBe(0);
    const drilled = await lab.pgbackup("helper", "drill", "--now");
    expect(drilled.code, drilled.output).toBe(0);
  });
});
