import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { type Catalogue, parseCatalogue } from "../../backup/catalogue.ts";
import { containerLog, docker, testLabel, testRun } from "./docker.ts";

const scripts = join(import.meta.dirname, "..", "..", "components", "backups", "container");
const uploaded = "/opt/postgresql-environment/backup";
const label = ["--label", `${testLabel}=${testRun}`];

/** What a command in a container came to. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  /** Standard output, then standard error. */
  readonly output: string;
}

export interface LabOptions {
  readonly image?: string;
  /** `-c` parameters of the server. */
  readonly server?: Readonly<Record<string, string>>;
  /** Of the repository: a size as tmpfs takes it. Default: 1g. */
  readonly repositorySize?: string;
  /** Volumes on the disk, for more than fits into memory. */
  readonly onDisk?: true;
  /** Environment of the backup container. */
  readonly backup?: Readonly<Record<string, string>>;
}

/**
 * A server, the backup container and a container for restores, as a production stack has them but without Pulumi.
 * All data is in volumes in memory, unless wished otherwise, which live as long as the container for restores.
 */
export class BackupLab {
  readonly name = `backup-lab-${randomBytes(4).toString("hex")}`;
  /** Containers. */
  readonly server = `${this.name}-server`;
  readonly backup = `${this.name}-backup`;
  readonly helper = `${this.name}-helper`;
  private readonly repository = `${this.name}-repository`;
  private readonly data = `${this.name}-data`;
  private readonly folder = mkdtempSync(join(tmpdir(), "backup-lab-"));
  private readonly superuserPassword = randomBytes(12).toString("hex");
  readonly backupPassword = randomBytes(12).toString("hex");
  private readonly image: string;
  private readonly options: LabOptions;

  constructor(options: LabOptions = {}) {
    this.options = options;
    this.image = options.image ?? "postgres:17-trixie";
  }

  async start(): Promise<void> {
    cpSync(scripts, this.folder, { recursive: true });
    // The server's user reads the scripts as well.
    chmodSync(this.folder, 0o755);
    writeFileSync(join(this.folder, "pgpass"), `postgres:5432:*:shop_backup:${this.backupPassword}\n`, {
      mode: 0o600,
    });
    writeFileSync(join(this.folder, "drill-query.sql"), "SELECT count(*) > 0 FROM shop.item;\n");
    await docker("network", "create", ...label, this.name);
    for (const [name, size] of [
      [this.repository, this.options.repositorySize ?? "1g"],
      [this.data, "2g"],
    ] as const) {
      const memory = ["--driver=local", "--opt=type=tmpfs", "--opt=device=tmpfs", `--opt=o=size=${size}`];
      await docker("volume", "create", ...label, ...(this.options.onDisk ? [] : memory), name);
    }
    await this.create(this.helper, [
      ...["--volume", `${this.repository}:/repository`, "--volume", `${this.data}:/data`],
      ...[
        "--env",
        "SCRATCH=/data/scratch",
        "--env",
        `DRILL_QUERY=/run/postgresql-environment/drill-query.sql`,
      ],
      ...["--entrypoint", "bash", this.image, "-c"],
      // The entrypoint's work with the files; then it only holds the volumes.
      `${uploaded}/entrypoint help >/dev/null && chmod 1777 /data && install -d -o postgres -m 0700 /data/scratch && exec sleep infinity`,
    ]);
    await docker("start", this.helper);
    await this.startServer(0);
    await this.sql(
      `CREATE ROLE shop_backup LOGIN REPLICATION PASSWORD '${this.backupPassword}';
       CREATE ROLE shop_monitor`,
      "postgres",
    );
    await this.sql("CREATE DATABASE shop", "postgres");
    await this.sql(
      `CREATE SCHEMA backups AUTHORIZATION shop_backup; CREATE SCHEMA shop;
       CREATE TABLE shop.item (id bigint PRIMARY KEY, text text);
       INSERT INTO shop.item SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i`,
    );
    await this.create(this.backup, [
      ...["--volume", `${this.repository}:/repository`],
      ...["--env", "HEARTBEAT_EVERY=1", "--env", "BACKUP_POLL=0.2", "--env", "BACKUP_RETRY=1"],
      ...Object.entries(this.options.backup ?? {}).flatMap(([key, value]) => ["--env", `${key}=${value}`]),
      ...["--entrypoint", `${uploaded}/entrypoint`, this.image, "run"],
    ]);
    await docker("start", this.backup);
    await this.until("the repository is there", async () => {
      return (await this.pgbackup("helper", "list")).code === 0;
    });
  }

  /** A server on a data directory of its own: `generation` 0 is initialised, others are restored before. */
  async startServer(generation: number): Promise<void> {
    await docker("rm", "--force", this.server).catch(() => {});
    const init = mkdtempSync(join(tmpdir(), "initdb-"));
    writeFileSync(
      join(init, "replication.sh"),
      'echo "host replication all all scram-sha-256" >>"$PGDATA/pg_hba.conf"\n',
      { mode: 0o644 },
    );
    const parameters = { max_wal_size: "256MB", ...this.options.server };
    await docker(
      ...["create", "--name", this.server, ...label, "--network", this.name, "--network-alias", "postgres"],
      ...["--publish", "127.0.0.1::5432", "--volume", `${this.data}:/data`],
      ...["--env", `PGDATA=/data/${generation}`, "--env", `POSTGRES_PASSWORD=${this.superuserPassword}`],
      ...["--env", "POSTGRES_INITDB_ARGS=--data-checksums", this.image, "postgres"],
      ...Object.entries(parameters).flatMap(([key, value]) => ["-c", `${key}=${value}`]),
    );
    await docker("cp", `${init}/.`, `${this.server}:/docker-entrypoint-initdb.d/`);
    rmSync(init, { recursive: true });
    await docker("start", this.server);
    await this.untilServerAnswers();
  }

  async untilServerAnswers(): Promise<void> {
    await this.until("the server answers", async () => {
      const client = await this.connect("postgres").catch(() => undefined);
      await client?.end();
      return client !== undefined;
    });
  }

  /** A session of the superuser; the caller ends it. The port is another one after each start. */
  async connect(database = "shop"): Promise<pg.Client> {
    const published = await docker("port", this.server, "5432/tcp");
    const client = new pg.Client({
      host: "127.0.0.1",
      port: Number(published.split(":").at(-1)),
      user: "postgres",
      password: this.superuserPassword,
      database,
      connectionTimeoutMillis: 20_000,
    });
    client.on("error", () => {});
    await client.connect();
    return client;
  }

  /** First value of the last statement. */
  async sql(text: string, database = "shop"): Promise<string | undefined> {
    const client = await this.connect(database);
    try {
      const results: pg.QueryResult | pg.QueryResult[] = await client.query(text);
      const last = Array.isArray(results) ? results.at(-1) : results;
      const first = Object.values(last?.rows[0] ?? {})[0];
      return first === undefined ? undefined : String(first);
    } finally {
      await client.end();
    }
  }

  /** A command of pgbackup in the backup container, or in the one for restores. */
  pgbackup(where: "backup" | "helper", ...args: string[]): Promise<Ended> {
    return this.run(where, [`${uploaded}/pgbackup`, ...args]);
  }

  run(
    where: "backup" | "helper",
    command: readonly string[],
    input = "",
    env: readonly string[] = [],
  ): Promise<Ended> {
    const container = where === "backup" ? this.backup : this.helper;
    const flags = env.flatMap((each) => ["--env", each]);
    return new Promise((resolve, reject) => {
      const child = spawn("docker", ["exec", "--interactive", ...flags, container, ...command]);
      let stdout = "";
      let stderr = "";
      child.stdout.on("data", (chunk) => {
        stdout += chunk;
      });
      child.stderr.on("data", (chunk) => {
        stderr += chunk;
      });
      child.on("error", reject);
      child.on("close", (code) => {
        resolve({ code: code ?? -1, stdout, output: `${stdout}${stderr}`.trimEnd() });
      });
      child.stdin.end(input);
    });
  }

  /** A shell command as the server's user, where the repository and the restored folders are. */
  async shell(command: string): Promise<string> {
    const { code, output, stdout } = await this.run("helper", ["gosu", "postgres", "bash", "-c", command]);
    if (code !== 0) throw new Error(`${command}: ${output}`);
    return stdout.trimEnd();
  }

  async list(): Promise<Catalogue> {
    const { code, output, stdout } = await this.pgbackup("helper", "list", "--json");
    if (code !== 0) throw new Error(output);
    return parseCatalogue(stdout);
  }

  /** Waits until the repository has all that is committed by now; the server's time then. */
  async untilReceived(): Promise<string> {
    const at = (await this.sql("SELECT clock_timestamp()::text")) ?? "";
    const lsn = (await this.sql("SELECT pg_current_wal_flush_lsn()")) ?? "";
    await this.until(`the repository has ${lsn}`, async () => {
      const slots = `SELECT coalesce(bool_and(active AND restart_lsn >= '${lsn}'), false) FROM pg_replication_slots WHERE slot_name = 'backup'`;
      if ((await this.sql(slots)) !== "true") return false;
      return new Date((await this.list()).status?.receivedAt ?? 0) > new Date(at);
    });
    return at;
  }

  /** Starts the server of a restored folder on a socket, and asks it. */
  async ask(folder: string, sql: string): Promise<string> {
    await this.shell(
      `pg_ctl -s -w -t 300 -D ${folder} -l ${folder}.log -o "-c listen_addresses='' -k /tmp -c fsync=off" start`,
    );
    try {
      return await this.shell(`psql -XAtq -h /tmp -U postgres -d shop <<'SQL'\n${sql}\nSQL`);
    } finally {
      await this.shell(`pg_ctl -s -w -D ${folder} -m fast stop`);
    }
  }

  /** Polls, however long it takes on a busy machine; says what it waited for, and what the backup container said. */
  async until(what: string, condition: () => Promise<boolean>, patience = 240_000): Promise<void> {
    const end = Date.now() + patience;
    while (!(await condition())) {
      if (Date.now() > end) {
        throw new Error(`waited in vain until ${what}\n${await containerLog(this.backup).catch(String)}`);
      }
      await sleep(100);
    }
  }

  async remove(): Promise<void> {
    for (const container of [this.backup, this.server, this.helper]) {
      await docker("rm", "--force", "--volumes", container).catch(() => {});
    }
    await docker("volume", "rm", "--force", this.repository, this.data).catch(() => {});
    await docker("network", "rm", this.name).catch(() => {});
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async create(name: string, args: readonly string[]): Promise<void> {
    await docker(
      ...["create", "--name", name, ...label, "--network", this.name],
      ...["--env", "PGHOST=postgres", "--env", "PGPORT=5432", "--env", "PGUSER=shop_backup"],
      ...["--env", "PGDATABASE=shop", "--env", "PGSSLMODE=disable", "--env", "SUPERUSER=postgres"],
      ...["--env", "PGPASSFILE=/run/postgresql-environment/pgpass", ...args],
    );
    await new Promise<void>((resolve, reject) => {
      // Through a pipe: docker cp would keep this machine's owner.
      const tar = `tar -C "$FOLDER" --owner=0 --group=0 --transform "s|^\\.|./\${TO#/}|" -c . | docker cp - "$CONTAINER:/"`;
      execFile(
        "sh",
        ["-c", tar],
        { env: { ...process.env, FOLDER: this.folder, TO: uploaded, CONTAINER: name } },
        (error) => (error ? reject(error) : resolve()),
      );
    });
  }
}
