import { describe, expect, it } from "vitest";
import {
  backupOf,
  drillOf,
  parseCatalogue,
  parseConf,
  parseFindings,
  statusOf,
} from "../../backup/catalogue.ts";

const conf = `id=20261125T121828Z-incr
kind=incr
parent=20261125T121757Z-full
started=2026-11-25T12:18:28Z
ended=2026-11-25T12:18:31.925827Z
timeline=1
start_lsn=0/4000028
stop_lsn=0/4000500
start_wal=000000010000000000000004
server_version=17.12 (Debian 17.12-0+deb13u1)
size_bytes=270649
cluster_bytes=32867821
`;

describe("the repository's files", () => {
  it("are lines of key=value: a value may have more of them, and other lines are passed over", () => {
    expect(parseConf("a=1\nb=x=y\nempty=\n\nnothing\n=none\n")).toEqual({ a: "1", b: "x=y", empty: "" });
  });

  it("tell a backup", () => {
    expect(backupOf(conf)).toEqual({
      id: "20261125T121828Z-incr",
      kind: "incr",
      parent: "20261125T121757Z-full",
      started: "2026-11-25T12:18:28Z",
      ended: "2026-11-25T12:18:31.925827Z",
      timeline: 1,
      startLsn: "0/4000028",
      stopLsn: "0/4000500",
      startWal: "000000010000000000000004",
      serverVersion: "17.12 (Debian 17.12-0+deb13u1)",
      sizeBytes: 270_649,
      clusterBytes: 32_867_821,
    });
    expect(
      backupOf(conf.replace("kind=incr", "kind=full").replace(/parent=.*/, "parent=")).parent,
    ).toBeNull();
  });

  it("that lack something are refused by name", () => {
    expect(() => backupOf("id=1\nkind=full\n")).toThrowErrorMatchingInlineSnapshot(`
      [Error: backup.conf has no started: id=1
      kind=full
      ]
    `);
    expect(() => backupOf(conf.replace("kind=incr", "kind=half"))).toThrowErrorMatchingInlineSnapshot(
      `[Error: backup.conf has an unknown kind: half]`,
    );
  });

  it("tell the status: empty values are none, and an unknown state is a failure", () => {
    expect(
      statusOf("time=2026-11-25T12:00:00Z\nstate=streaming\ntimeline=2\nreceived_lsn=0/1\nlast_error=\n"),
    ).toEqual({
      time: "2026-11-25T12:00:00Z",
      state: "streaming",
      timeline: 2,
      receivedLsn: "0/1",
      receivedAt: null,
      heartbeatAt: null,
      slotState: null,
      lastError: null,
      nextBaseAt: null,
      baseState: null,
    });
    expect(statusOf("time=t\nstate=other\n")?.state).toBe("failed");
    expect(statusOf("")).toBeUndefined();
  });

  it("tell a drill", () => {
    const text =
      "started=a\nended=b\nseconds=7.5\nok=no\nbackup=\nrpo_seconds=0.4\nrto_seconds=\nmessage=failed: x=y\n";
    expect(drillOf("20261125T120000Z", text)).toEqual({
      id: "20261125T120000Z",
      started: "a",
      ended: "b",
      seconds: 7.5,
      ok: false,
      backup: null,
      newestRestorable: null,
      rpoSeconds: 0.4,
      rtoSeconds: null,
      message: "failed: x=y",
      checks: null,
    });
  });
});

describe("what pgbackup prints", () => {
  it("is a catalogue or an error that shows it", () => {
    const list = {
      repository: { format: "1", systemIdentifier: "7", freeBytes: 1 },
      backups: [],
      window: null,
    };
    expect(parseCatalogue(JSON.stringify(list)).repository.systemIdentifier).toBe("7");
    expect(() => parseCatalogue("Error: No such container")).toThrowErrorMatchingInlineSnapshot(
      `[Error: pgbackup list --json did not print JSON: Error: No such container]`,
    );
    expect(() => parseCatalogue("[]")).toThrowErrorMatchingInlineSnapshot(
      `[Error: pgbackup list --json has no backups and repository: []]`,
    );
    const other = { ...list, repository: { ...list.repository, format: "2" } };
    expect(() => parseCatalogue(JSON.stringify(other))).toThrowErrorMatchingInlineSnapshot(
      `[Error: The repository has format "2", this program knows format 1.]`,
    );
  });

  it("is findings or an error", () => {
    expect(parseFindings('{"ok":false,"problems":["x"]}')).toEqual({ ok: false, problems: ["x"] });
    expect(() => parseFindings("{}")).toThrowErrorMatchingInlineSnapshot(
      `[Error: pgbackup printed neither ok nor problems: {}]`,
    );
  });
});
