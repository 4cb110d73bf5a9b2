import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BackupLab } from "../support/backup-lab.ts";
import { docker } from "../support/docker.ts";

/** What was counted, for the printed table. */
const counted: string[] = [];
function count(fault: string, before: number | string, after: number | string): void {
  counted.push(`${fault.padEnd(66)} ${String(before).padStart(8)} ${String(after).padStart(8)}`);
}

afterAll(() => {
  console.log(
    [`${"fault".padEnd(66)} ${"before".padStart(8)} ${"after".padStart(8)}`, ...counted].join("\n"),
  );
});

/** A client that writes one row after the other, and knows which were acknowledged. */
class Writer {
  /** Ids whose INSERT the server has said to be committed. */
  acknowledged = 0;
  private stopping = false;
  private readonly running: Promise<void>[] = [];
  private readonly ids: number[] = [];

  static async start(lab: BackupLab, from: number): Promise<Writer> {
    const writer = new Writer();
    for (let session = 0; session < 3; session += 1) {
      const client = await lab.connect();
      const write = async () => {
        for (let id = from + session; !writer.stopping; id += 3) {
          await client.query("INSERT INTO shop.item VALUES ($1, 'written under load')", [id]);
          writer.ids.push(id);
          writer.acknowledged += 1;
        }
        await client.end();
      };
      // A killed server ends the session: what was acknowledged by then counts.
      writer.running.push(write().catch(() => {}));
    }
    return writer;
  }

  /** @throws Error when no session is left that could write. */
  async until(rows: number): Promise<void> {
    for (let ended = false; this.acknowledged < rows; await sleep(20)) {
      if (ended) throw new Error(`all sessions have ended, after ${this.acknowledged} rows`);
      ended = await Promise.race([Promise.all(this.running).then(() => true), sleep(0, false)]);
    }
  }

  /** Ids that were acknowledged so far. */
  sofar(): readonly number[] {
    return [...this.ids];
  }

  /** Ids that were acknowledged. */
  async stop(): Promise<readonly number[]> {
    this.stopping = true;
    await Promise.all(this.running);
    return this.ids;
  }
}

describe("a fault", () => {
  const lab = new BackupLab({ server: { summarize_wal: "on" }, repositorySize: "600m" });
  /** Generation of the server's data directory. */
  let generation = 0;

  const rows = async () => Number(await lab.sql("SELECT count(*) FROM shop.item"));
  const nextId = async () => Number(await lab.sql("SELECT max(id) + 1 FROM shop.item"));
  const streams = () =>
    lab.until("it streams again", async () => {
      const { status } = await lab.list();
      return status?.state === "streaming" && status.lastError === null;
    });
  const missing = async (folder: string, ids: readonly number[]) =>
    Number(
      await lab.ask(
        folder,
        `SELECT count(*) FROM unnest('{${ids.join()}}'::bigint[]) id WHERE NOT EXISTS (SELECT FROM shop.item i WHERE i.id = id.id)`,
      ),
    );
  const restore = async (folder: string, ...target: string[]) => {
    const { code, output } = await lab.pgbackup("helper", "restore", "--into", folder, ...target);
    expect(code, output).toBe(0);
  };
  /** Writes another byte in the middle of a file, and gives what puts the old one back. */
  const flip = async (path: string) => {
    const size = Number(await lab.shell(`stat -c %s ${path}`));
    const at = Math.floor(size / 2);
    await lab.shell(
      `cp -p ${path} /data/kept && byte=$(od -An -tu1 -j ${at} -N 1 ${path}) && printf "\\\\$(printf %03o $((byte ^ 255)))" | dd of=${path} bs=1 seek=${at} conv=notrunc status=none`,
    );
    return () => lab.shell(`cat /data/kept >${path}`);
  };

  beforeAll(async () => {
    await lab.start();
    await lab.until("the first backup is there", async () => (await lab.list()).backups.length === 1);
    await streams();
  });
  afterAll(() => lab.remove());

  it("backup container killed under load: it goes on by itself, and nothing is missing", async () => {
    const writer = await Writer.start(lab, await nextId());
    await writer.until(50);
    await docker("kill", "--signal", "KILL", lab.backup);
    await lab.sql("SELECT pg_switch_wal()");
    await writer.until(writer.acknowledged + 100);
    await lab.sql("SELECT pg_switch_wal()");
    await docker("start", lab.backup);
    await writer.until(writer.acknowledged + 50);
    const ids = await writer.stop();
    await lab.untilReceived();
    expect((await lab.list()).gaps).toEqual([]);
    await restore("/data/down");
    expect(await missing("/data/down", ids)).toBe(0);
    const after = Number(await lab.ask("/data/down", "SELECT count(*) FROM shop.item"));
    count("backup container killed under load", await rows(), after);
    expect(after).toBe(await rows());
    await lab.shell("rm -rf /data/down*");
  });

  it("base backup killed but for its process for the WAL: the next one is whole, and nothing is left of the first", async () => {
    await lab.sql(
      "CREATE TABLE shop.large AS SELECT i, md5(i::text) || repeat(md5((i + 1)::text), 6) FROM generate_series(1, 200000) i",
    );
    const taking = lab.pgbackup("backup", "now", "--full");
    await lab.until("the base backup has begun", async () =>
      (await lab.shell("ls -A /repository/backups")).includes(".incomplete-"),
    );
    const killed = await lab.run("backup", [
      "bash",
      "-c",
      // pg_basebackup's other process is left alone, as by the kernel when it is short of memory.
      `programs() { for p in /proc/[0-9]*; do case $(tr "\\0" " " <$p/cmdline 2>/dev/null) in $1) basename $p;; esac; done | sort -n; }
      for try in $(seq 100); do [ "$(programs "pg_basebackup*" | wc -l)" -lt 2 ] || break; done
      kill -9 $(programs "*pgbackup[ ]now*") $(programs "pg_basebackup*" | head -n 1)
      [ -n "$(programs "pg_basebackup*")" ]`,
    ]);
    expect(killed.code, killed.output).toBe(0);
    expect((await taking).code).not.toBe(0);
    const left = await lab.shell("ls -A /repository/backups");
    const { code, output } = await lab.pgbackup("backup", "now", "--full");
    expect(code, output).toBe(0);
    expect(left).toContain(".incomplete-");
    expect(await lab.shell("ls -A /repository/backups")).not.toContain(".incomplete-");
    const running = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pgbackup_base'";
    await lab.until("its stream has ended", async () => (await lab.sql(running)) === "0");
    const { backups } = await lab.list();
    const verified = await lab.pgbackup("helper", "verify", backups.at(-1)?.id ?? "");
    expect(verified.code, verified.output).toBe(0);
    await lab.sql("DROP TABLE shop.large");
  });

  it("restore killed and run again: it begins afresh, and never touches a folder that is not its own", async () => {
    const first = lab.pgbackup("helper", "restore", "--into", "/data/again", "latest");
    await lab.until("the restore has begun", async () =>
      (await lab.shell("ls -A /data/again 2>/dev/null || true")).includes("restore-unfinished"),
    );
    await lab.run("helper", [
      "bash",
      "-c",
      'for p in /proc/[0-9]*; do case $(tr "\\0" " " <$p/cmdline 2>/dev/null) in *pgbackup\\ restore*|postgres*|tar*|zstd*) kill -9 $(basename $p);; esac; done',
    ]);
    expect((await first).code).not.toBe(0);
    expect(await lab.shell("ls /data/again")).toContain("restore-unfinished");
    expect(await lab.shell("test -e /data/again/PG_VERSION && echo startable || echo no server starts")).toBe(
      "no server starts",
    );
    const again = await lab.pgbackup("helper", "restore", "--into", "/data/again", "latest");
    expect(again.code, again.output).toBe(0);
    expect(again.output).toContain("An earlier restore into /data/again did not finish; begins afresh");
    const after = Number(await lab.ask("/data/again", "SELECT count(*) FROM shop.item"));
    count("restore killed, run again", await rows(), after);
    expect(after).toBe(await rows());
    await lab.shell("rm -rf /data/again*");
  });

  describe("damage in the repository", () => {
    const findings = async () =>
      JSON.parse((await lab.pgbackup("helper", "verify", "--json")).stdout) as { problems: string[] };
    let wal: string;

    beforeAll(async () => {
      await lab.sql("SELECT pg_switch_wal()");
      await lab.sql(`INSERT INTO shop.item VALUES (${await nextId()}, 'after the switch')`);
      await lab.sql("SELECT pg_switch_wal()");
      await lab.sql(`INSERT INTO shop.item VALUES (${await nextId()}, 'after the switch')`);
      await lab.untilReceived();
      await lab.until(
        "the closed segments are compressed",
        async () => (await lab.shell("ls /repository/receiving | grep -vc partial || true")) === "0",
      );
      wal = await lab.shell("ls /repository/wal/*.zst | tail -n 1");
    });

    it.each([
      [
        "a flipped byte of a base backup",
        async () => `/repository/backups/${(await lab.list()).backups.at(-1)?.id}/base.tar.zst`,
        "is damaged",
      ],
      ["a flipped byte of compressed WAL", async () => wal, "is damaged"],
    ])("%s: verify, the drill and a restore name the file", async (_, path, what) => {
      const file = await path();
      const name = file.replace("/repository/", "");
      const mend = await flip(file);
      try {
        expect((await findings()).problems.join("\n")).toContain(`${name} ${what}`);
        const drill = await lab.pgbackup("helper", "drill", "--now");
        expect(drill.code, drill.output).toBe(1);
        expect(drill.output).toContain(`The drill failed: The restore failed: ${name} ${what}`);
        const restored = await lab.pgbackup("helper", "restore", "--into", "/data/damaged", "latest");
        expect(restored.code, restored.output).toBe(1);
        expect(restored.output).toContain(`${name} ${what}`);
      } finally {
        await mend();
        await lab.shell("rm -rf /data/damaged");
      }
    });

    it("a missing WAL segment: verify, the drill and a restore name it, and a new base backup makes good for it", async () => {
      // The container would make good for it at once.
      await docker("stop", lab.backup);
      const known = (await lab.list()).backups.length;
      const name = wal.replace("/repository/", "");
      await lab.shell(`mv ${wal} /data/kept`);
      try {
        expect((await findings()).problems.join("\n")).toContain(`${name} is missing`);
        const drill = await lab.pgbackup("helper", "drill", "--now");
        expect(drill.code, drill.output).toBe(1);
        expect(drill.output).toContain(`${name} is missing`);
        const restored = await lab.pgbackup("helper", "restore", "--into", "/data/damaged", "latest");
        expect(restored.code, restored.output).toBe(1);
        expect(restored.output).toContain(`${name} is missing`);
        await docker("start", lab.backup);
        await lab.until("a new base backup is there", async () => (await lab.list()).backups.length > known);
        const again = await lab.pgbackup("helper", "drill", "--now");
        expect(again.code, again.output).toBe(0);
        expect((await findings()).problems.join("\n")).toContain(`${name} is missing`);
      } finally {
        await lab.shell(`cat /data/kept >${wal}; rm -rf /data/damaged`);
        await docker("start", lab.backup);
      }
    });

    it("a flipped byte of the segment that is being received: it is found though it has no checksum of its own", async () => {
      const partial = await lab.shell("ls /repository/receiving/*.partial");
      // The last but one record that the repository has; what follows is unreadable.
      await docker("stop", lab.backup);
      const before = await lab.list();
      await lab.shell(
        `cp ${partial} /data/kept && printf 'XXXXXXXX' | dd of=${partial} bs=1 seek=72 conv=notrunc status=none`,
      );
      try {
        expect((await findings()).problems.join("\n")).toMatch(/receiving\/[0-9A-F]{24}\.partial is damaged/);
        const drill = await lab.pgbackup("helper", "drill", "--now");
        expect(drill.code, drill.output).toBe(1);
        expect(drill.output).toContain("The restore ended too early");
        expect(drill.output).toContain(String(before.status?.receivedLsn));
      } finally {
        await lab.shell(`cat /data/kept >${partial}`);
        await docker("start", lab.backup);
      }
      await streams();
      expect((await lab.pgbackup("helper", "verify")).output).toMatch(/^Whole/m);
    });
  });

  it("repository full: it says so, production goes on, and so does the backup once there is room", async () => {
    const before = await rows();
    await lab.shell(
      "free=$(stat -f -c '%a * %S' /repository); head -c $((free - 4000000)) /dev/zero >/repository/filler",
    );
    const id = await nextId();
    for (let segment = 0; segment < 3; segment += 1) {
      await lab.sql(
        `INSERT INTO shop.item VALUES (${id + segment}, 'while it was full'); SELECT pg_switch_wal()`,
      );
    }
    await lab.until("the status says that there is no room", async () =>
      /[Nn]o space|no room/.test((await lab.list()).status?.lastError ?? ""),
    );
    const checked = await lab.pgbackup("helper", "check");
    expect(checked.code).toBe(1);
    expect(checked.output).toMatch(/No space left on device/);
    expect(await rows()).toBe(before + 3);
    await lab.shell("rm /repository/filler");
    await streams();
    await lab.untilReceived();
    expect((await lab.list()).gaps).toEqual([]);
    await restore("/data/full");
    const after = Number(await lab.ask("/data/full", "SELECT count(*) FROM shop.item"));
    count("repository full for a while", before + 3, after);
    expect(after).toBe(before + 3);
    await lab.shell("rm -rf /data/full*");
  });

  it("slot lost: seen, and healed by a new base backup, without a hand", async () => {
    await lab.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '32MB'");
    await lab.sql("SELECT pg_reload_conf()");
    await docker("stop", lab.backup);
    const known = (await lab.list()).backups.length;
    await lab.until("the slot is lost", async () => {
      await lab.sql(
        "SELECT pg_logical_emit_message(true, 'fill', repeat('x', 1000000)) FROM generate_series(1, 40)",
      );
      await lab.sql("CHECKPOINT");
      return (await lab.sql("SELECT wal_status FROM pg_replication_slots")) === "lost";
    });
    await docker("start", lab.backup);
    await lab.until("a new base backup is there", async () => (await lab.list()).backups.length > known);
    await streams();
    const { backups, gaps, status } = await lab.list();
    expect(backups.at(-1)?.kind).toBe("full");
    expect(status?.slotState).toBe("reserved");
    expect(gaps.length).toBeGreaterThan(0);
    await lab.sql("ALTER SYSTEM RESET max_slot_wal_keep_size");
    await lab.sql("SELECT pg_reload_conf()");
    await lab.untilReceived();
    await restore("/data/lost");
    const after = Number(await lab.ask("/data/lost", "SELECT count(*) FROM shop.item"));
    count("slot lost by max_slot_wal_keep_size", await rows(), after);
    expect(after).toBe(await rows());
    const checked = await lab.pgbackup("helper", "check");
    expect(checked.output).not.toContain("no backup with all WAL");
    await lab.shell("rm -rf /data/lost*");
  });

  it("server killed under load: it recovers by itself, and its backup has all but what was on its way", async () => {
    const before = await rows();
    const writer = await Writer.start(lab, await nextId());
    await writer.until(200);
    const settled = writer.sofar();
    await lab.untilReceived();
    await writer.until(writer.acknowledged + 200);
    await docker("kill", "--signal", "KILL", lab.server);
    const ids = await writer.stop();
    // As if its volume were lost: what a restore of the newest point would bring.
    await restore("/data/killed");
    expect(await missing("/data/killed", settled)).toBe(0);
    const lost = await missing("/data/killed", ids);
    count("killed (-9) under load, volume lost, asynchronous: acknowledged", ids.length, ids.length - lost);
    await docker("start", lab.server);
    await lab.untilServerAnswers();
    expect(await rows()).toBeGreaterThanOrEqual(before + ids.length);
    await streams();
    await lab.untilReceived();
    const { backups, gaps } = await lab.list();
    expect(gaps.filter(({ after }) => after === backups.at(-1)?.id)).toEqual([]);
    await lab.shell("rm -rf /data/killed*");
    await restore("/data/killed");
    expect(await missing("/data/killed", ids)).toBe(0);
    count("server killed (-9) under load, recovered: acknowledged", ids.length, ids.length);
    await lab.shell("rm -rf /data/killed*");
  });

  it("server killed under load and its data gone: no acknowledged row is lost where commits wait for the backup", async () => {
    await lab.sql("ALTER SYSTEM SET synchronous_standby_names = 'backup'");
    await lab.sql("SELECT pg_reload_conf()");
    const writer = await Writer.start(lab, await nextId());
    await writer.until(300);
    await docker("kill", "--signal", "KILL", lab.server);
    const ids = await writer.stop();
    await lab.shell(`rm -rf /data/${generation}`);
    await lab.until("the backup has noticed", async () => (await lab.list()).status?.state === "failed");
    generation += 1;
    await restore(`/data/${generation}`);
    const lost = await missing(`/data/${generation}`, ids);
    count("server killed (-9) under load, data volume deleted: acknowledged", ids.length, ids.length - lost);
    expect(lost).toBe(0);
    await lab.shell(`sed -i /synchronous_standby_names/d /data/${generation}/postgresql.auto.conf`);
    await lab.startServer(generation);
    await lab.until(
      "a backup of the new timeline is there",
      async () => (await lab.list()).backups.at(-1)?.timeline === 2,
    );
    await streams();
    expect((await lab.list()).status?.timeline).toBe(2);
  });

  it("table dropped, then the whole server back to the moment before: twice in a row", async () => {
    const before = await rows();
    await sleep(5);
    const moment = (await lab.sql("SELECT clock_timestamp()::text")) ?? "";
    await lab.sql("DROP TABLE shop.item");
    await lab.untilReceived();
    await docker("stop", lab.server);
    generation += 1;
    await restore(`/data/${generation}`, "--target-time", moment);
    await lab.startServer(generation);
    count("table dropped, back to the moment before", before, await rows());
    expect(await rows()).toBe(before);
    await lab.until(
      "a backup of the new timeline is there",
      async () => (await lab.list()).backups.at(-1)?.timeline === 3,
    );
    await streams();

    // The second is on the timeline that the first one made; the same second again, and the newest point after it.
    await lab.sql(`INSERT INTO shop.item VALUES (${await nextId()}, 'after the first restore')`);
    await lab.untilReceived();
    await docker("stop", lab.server);
    generation += 1;
    await restore(`/data/${generation}`);
    await lab.startServer(generation);
    count("restored to the newest point, after another restore", before + 1, await rows());
    expect(await rows()).toBe(before + 1);
    await restore("/data/old", "--target-time", moment);
    expect(Number(await lab.ask("/data/old", "SELECT count(*) FROM shop.item"))).toBe(before);
    await lab.until(
      "a backup of the new timeline is there",
      async () => (await lab.list()).backups.at(-1)?.timeline === 4,
    );
    const verified = await lab.pgbackup("helper", "verify");
    expect(verified.output).toContain("is missing");
    expect(verified.output).not.toContain("damaged");
    const drilled = await lab.pgbackup("helper", "drill", "--now");
    expect(drilled.code, drilled.output).toBe(0);
  });
});
