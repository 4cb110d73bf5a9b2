/**
 * Gives a new ephemeral environment the data of another stack's backup; run by the program's command resource when
 * roles and database are there, and before the migrations.
 *
 * The backup is restored to a throwaway server that nobody can reach, the masking SQL runs there, and what is left goes
 * over as a dump: roles, passwords and the rights of the new environment stay its own.
 *
 * Environment: see components/backups/restored-database.ts.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import pg from "pg";
import { backupsSchema } from "../components/access/privileges.ts";
import { describeTarget, parseRestore } from "../components/backups/data-generation.ts";
import { scratchMount } from "../components/backups/program.ts";
import { extensionsSchema } from "../components/names.ts";
import { ask, BackupError, docker, runProgram, variable } from "./docker.ts";
import { createRestoreContainer, repositoryOfStack, restoreArguments } from "./restore-container.ts";

const { escapeIdentifier, escapeLiteral } = pg;
const target = variable("CONTAINER");
const database = variable("DATABASE");
const superuser = variable("SUPERUSER");
const owner = variable("OWNER");
const labels: Record<string, string> = JSON.parse(variable("LABELS"));
const restorer = `${target}-restore`;
const directory = `${scratchMount}/data`;
const dump = "/tmp/restored.dump";

await runProgram(async () => {
  const restore = parseRestore(variable("RESTORE"));
  if (typeof restore?.from !== "object") throw new Error("RESTORE names no stack.");
  const masking = restore.maskingFile === undefined ? "" : readMasking(restore.maskingFile);
  const repository = await repositoryOfStack(variable("PROJECT"), restore.from.stack);
  const image = repository.image ?? variable("IMAGE");
  const source = {
    database: repository.environment.PGDATABASE ?? database,
    superuser: repository.environment.SUPERUSER ?? superuser,
  };
  console.log(`Restoring ${describeTarget(restore)} to a throwaway server.`);
  const mount = `type=volume,source=${restorer},target=${scratchMount}`;
  // What a run that was killed has left.
  await remove();
  await ask(["volume", "create", ...labelArguments(), restorer]);
  try {
    const environment = {
      REPOSITORY: "/repository",
      SUPERUSER: source.superuser,
      PGDATABASE: source.database,
    };
    await createRestoreContainer(
      { name: restorer, image, repository, mount, directory, environment, labels, memory: undefined },
      restoreArguments(restore, directory),
    );
    const { code } = await docker(["start", "--attach", "--interactive", restorer], {
      input: masking,
      show: true,
    });
    if (code !== 0) throw new BackupError("The restore failed, as the lines above say.");
    await startServer(image, mount);
    await copy(source);
  } finally {
    await remove();
  }
});

async function remove(): Promise<void> {
  await docker(["rm", "--force", "--volumes", restorer]);
  await docker(["volume", "rm", "--force", restorer]);
}

function readMasking(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new BackupError(`restore: the maskingFile can't be read: ${(error as Error).message}`);
  }
}

function labelArguments(): string[] {
  return Object.entries(labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]);
}

/** Starts the restored server, on a socket within its container only. */
async function startServer(image: string, mount: string): Promise<void> {
  const script = `
    echo 'local all all trust' > /tmp/pg_hba.conf
    if command -v gosu >/dev/null; then drop=gosu; else drop=su-exec; fi
    exec $drop postgres postgres -D "$1" -c listen_addresses= -c unix_socket_directories=/tmp \\
      -c hba_file=/tmp/pg_hba.conf -c fsync=off -c autovacuum=off -c archive_mode=off -c synchronous_standby_names= -c ssl=off`;
  await docker(["rm", "--force", "--volumes", restorer]);
  await ask([
    ...["run", "--detach", "--name", restorer, "--init", "--network", "none", "--mount", mount],
    ...[...labelArguments(), "--entrypoint", "sh", image, "-c", script, "sh", directory],
  ]);
  const ready = "for i in $(seq 600); do pg_isready -q -h /tmp && exit 0; sleep 0.1; done; exit 1";
  if ((await docker(["exec", restorer, "sh", "-c", ready])).code !== 0) {
    const { stderr, stdout } = await docker(["logs", "--tail", "20", restorer]);
    throw new BackupError(`The restored server does not start:\n${stdout}${stderr}`);
  }
}

interface Source {
  readonly database: string;
  readonly superuser: string;
}

async function copy(source: Source): Promise<void> {
  const ours = (sql: string) => rows(target, { database, superuser, socket: undefined }, sql);
  const theirs = (sql: string) => rows(restorer, { ...source, socket: "/tmp" }, sql);
  const kept = [backupsSchema, extensionsSchema, "information_schema", "public"].map((name) =>
    escapeLiteral(name),
  );
  const schemas = await theirs(
    `SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN (${kept.join(", ")}) ORDER BY 1`,
  );
  const extensions = await theirs(
    "SELECT format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I;', extname, nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname <> 'plpgsql' AND nspname !~ '^pg_' ORDER BY extname",
  );
  const roles = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'";
  const [known, named] = await Promise.all([ours(roles), theirs(roles)]);
  const unknown = named.filter((role) => !known.includes(role) && role !== source.superuser);
  if (unknown.length > 0) {
    console.log(
      `Rights on single objects are left out: this environment has no role ${unknown.join(", ")}. Default privileges apply.`,
    );
  }
  await run(
    [
      "exec",
      restorer,
      "pg_dump",
      "-h",
      "/tmp",
      "-U",
      source.superuser,
      "-Fc",
      "-Z",
      "0",
      "--no-owner",
      "-f",
      dump,
    ],
    ...[unknown.length > 0 ? ["--no-acl"] : [], ["--no-publications", "--no-subscriptions"]],
    ...schemas.map((schema) => ["-n", escapeIdentifier(schema)]),
    [source.database],
  );
  await pipe(["exec", restorer, "cat", dump], ["exec", "--interactive", target, "sh", "-c", `cat > ${dump}`]);
  const missing = schemas.map(
    (schema) =>
      `CREATE SCHEMA IF NOT EXISTS ${escapeIdentifier(schema)} AUTHORIZATION ${escapeIdentifier(owner)};`,
  );
  await ours([...missing, ...extensions].join("\n"));
  // Schemas are there, and belong to the right role.
  const script = `
    trap 'rm -f "$1" "$1.list"' EXIT
    pg_restore --list "$1" | grep -v '^[0-9]*; [0-9]* [0-9]* SCHEMA ' > "$1.list"
    pg_restore --exit-on-error --single-transaction --no-owner --role="$2" -U "$3" -d "$4" -L "$1.list" "$1"`;
  await run(["exec", target, "sh", "-ec", script, "sh", dump, owner, superuser, database]);
  await ours("ANALYZE;");
  const [size] = await ours("SELECT pg_size_pretty(pg_database_size(current_database()))");
  console.log(`Copied the schemas ${schemas.join(", ")}: ${size}.`);
}

/** @throws BackupError with what it printed where it fails. */
async function run(...parts: readonly (readonly string[])[]): Promise<void> {
  const { code, stderr, stdout } = await docker(parts.flat());
  if (code !== 0) throw new BackupError(`The data could not be copied: ${`${stdout}${stderr}`.trim()}`);
}

/** The first column, as lines. SQL comes by standard input: it may be longer than a command line. */
async function rows(
  container: string,
  at: Source & { readonly socket: string | undefined },
  sql: string,
): Promise<string[]> {
  const { code, stderr, stdout } = await docker(
    [
      ...[
        "exec",
        "--interactive",
        container,
        "psql",
        "--no-psqlrc",
        "--quiet",
        "-At",
        "-v",
        "ON_ERROR_STOP=1",
      ],
      ...(at.socket === undefined ? [] : ["-h", at.socket]),
      ...["-U", at.superuser, "-d", at.database],
    ],
    { input: sql },
  );
  if (code !== 0) throw new BackupError(`The data could not be copied: ${stderr.trim()}`);
  return stdout.split("\n").filter(Boolean);
}

async function pipe(from: readonly string[], to: readonly string[]): Promise<void> {
  const reader = spawn("docker", from, { stdio: ["ignore", "pipe", "inherit"] });
  const writer = spawn("docker", to, { stdio: ["pipe", "inherit", "inherit"] });
  // A writer that has ended is told by its exit code.
  writer.stdin.on("error", () => {});
  reader.stdout.pipe(writer.stdin);
  const ends = [reader, writer].map(
    (child) =>
      new Promise<number>((resolve, reject) => {
        child.on("error", reject);
        child.on("close", (code) => resolve(code ?? 1));
      }),
  );
  if ((await Promise.all(ends)).some((code) => code !== 0)) {
    throw new BackupError("The dump could not be copied into the new environment.");
  }
}
