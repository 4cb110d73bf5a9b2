import { connectionUrl } from "../../components/connection-url.ts";
import { dropStatement } from "../../reset/server.ts";
import {
  listTestDatabases,
  madeAt,
  makeTestDatabase,
  removeOutdated,
  type TestDatabaseInfo,
} from "../../reset/test-databases.ts";
import { exitCode, UserError } from "../errors.ts";
import { type OpenServer, openServer } from "../server-access.ts";
import type { Role } from "../stack-outputs.ts";
import { currentTemplate } from "../template.ts";

export interface TestdbOptions {
  readonly stack: string;
  readonly json?: true;
}

/** Makes a database for tests and prints its URL. */
export async function newDatabase(
  options: TestdbOptions & { readonly role: Exclude<Role, "superuser"> },
): Promise<void> {
  await withServer(options.stack, async ({ client, connections }) => {
    const template = await currentTemplate(client, options.stack);
    const name = await makeTestDatabase(client, template);
    await removeOutdated(client);
    const { username, password, host } = connections[options.role];
    const url = connectionUrl({ ...host, username, password, database: name, sslMode: "disable" });
    print(options.json ? JSON.stringify({ name, url }) : url);
  });
}

/** @param names Databases for tests, by name or URL. Empty with `all`. */
export async function dropDatabases(
  names: readonly string[],
  options: TestdbOptions & { readonly all?: true },
): Promise<void> {
  const wanted = names.map(nameIn);
  if (wanted.length > 0 === (options.all ?? false)) {
    throw new UserError("it is not said which databases are to be dropped.", {
      next: "Name them, or give --all: ./db testdb list shows them.",
      exitCode: exitCode.usage,
    });
  }
  const other = wanted.find((name) => madeAt(name) === undefined);
  if (other !== undefined) {
    throw new UserError(`${other} is no database for tests.`, {
      next: "./db testdb list shows those that are.",
      exitCode: exitCode.usage,
    });
  }
  await withServer(options.stack, async ({ client }) => {
    const there = (await listTestDatabases(client, { sizes: false })).map(({ name }) => name);
    const missing = wanted.find((name) => !there.includes(name));
    if (missing !== undefined) {
      throw new UserError(`there is no database ${missing} in stack ${options.stack}.`, {
        next: "./db testdb list shows those that there are.",
      });
    }
    const dropped = options.all ? there : wanted;
    for (const name of dropped) await client.query(dropStatement(name));
    print(options.json ? JSON.stringify({ dropped }) : `${dropped.length} dropped`);
  });
}

export async function list(options: TestdbOptions): Promise<void> {
  await withServer(options.stack, async ({ client }) => {
    const databases = await listTestDatabases(client, { sizes: true });
    print(options.json ? JSON.stringify(databases, undefined, 2) : formatList(databases, Date.now()));
  });
}

export function formatList(databases: readonly TestDatabaseInfo[], now: number): string {
  if (databases.length === 0) return "no databases for tests";
  return databases
    .map(({ kept, made, name, sessions, size }) =>
      [
        name,
        `${Math.floor((now - Date.parse(made)) / 60_000)} min`.padStart(9),
        `${(size / 1024 ** 2).toFixed(1)} MB`.padStart(9),
        `${sessions} ${sessions === 1 ? "session" : "sessions"}`.padStart(11),
        kept === null ? "" : `  ${kept}`,
      ]
        .join(" ")
        .trimEnd(),
    )
    .join("\n");
}

async function withServer(stack: string, work: (server: OpenServer) => Promise<void>): Promise<void> {
  const server = await openServer(stack);
  try {
    await work(server);
  } finally {
    await server.client.end().catch(() => {});
  }
}

/** What `new` has printed will do too. */
function nameIn(text: string): string {
  return /^postgres(?:ql)?:\/\//.test(text) ? decodeURIComponent(new URL(text).pathname.slice(1)) : text;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
