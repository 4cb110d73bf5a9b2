import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { UserError } from "../cli/errors.ts";
import { developmentStack } from "../cli/project.ts";
import { openServer, tooManyConnections } from "../cli/server-access.ts";
import type { Role, StackOutputs } from "../cli/stack-outputs.ts";
import { currentTemplate } from "../cli/template.ts";
import { connectionUrl } from "../components/connection-url.ts";
import type { FoundDatabase } from "../reset/properties.ts";
import { dropStatement } from "../reset/server.ts";
import { keepTestDatabase, makeTestDatabase, removeOutdated } from "../reset/test-databases.ts";

export interface TestDatabaseOptions {
  /** An environment that is up, with `profile: development`. Default: `development`. */
  readonly stack?: string;
  /** Whose login `url` has. Default: `app`. */
  readonly role?: Exclude<Role, "superuser">;
}

/** A database of its own, with what the application's database has right after `up`. */
export interface TestDatabase {
  readonly name: string;
  /** Connection URL, as in the output DB_SOURCE. */
  readonly url: string;
  /** The same for another login: `migrator` may change the schema, `readonly` may only look. */
  urlOf(role: Exclude<Role, "superuser">): string;
  /** Removes it, and ends the sessions in it. */
  drop(): Promise<void>;
  /** Leaves it there for a look, for a day. `drop` does nothing from then on. */
  keep(reason: string): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Makes a database for tests, as a clone of the template that `pulumi up` and `./db reset` keep. Remove it with `drop`,
 * or `await using`. One that is left over since its process was killed is removed an hour later, when another is made.
 *
 * @throws Error where the environment is not up, keeps its data, or has a template of other migrations or seed data
 */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const { role = "app", stack = developmentStack } = options;
  const server = serverOf(stack);
  const { connections, name } = await server.run(async (session) => ({
    connections: session.connections,
    name: await makeTestDatabase(session.client, session.template),
  }));
  const urlOf = (whose: Exclude<Role, "superuser">) => urlFor(connections, whose, name);
  let kept = false;
  const drop = async () => {
    if (!kept) await server.run(({ client }) => client.query(dropStatement(name)));
  };
  return {
    name,
    url: urlOf(role),
    urlOf,
    drop,
    async keep(reason) {
      await server.run(({ client }) => keepTestDatabase(client, name, reason));
      kept = true;
    },
    [Symbol.asyncDispose]: drop,
  };
}

function urlFor(connections: StackOutputs["connections"], role: Role, database: string): string {
  const { username, password, host } = connections[role];
  return connectionUrl({ ...host, username, password, database, sslMode: "disable" });
}

interface Session {
  readonly client: pg.Client;
  readonly connections: StackOutputs["connections"];
  readonly template: FoundDatabase;
}

/**
 * One connection of the superuser for all that this process wants at the moment, one thing after the other: the server
 * has few connections, and they are for the tests.
 */
class Server {
  readonly #stack: string;
  #session: Promise<Session> | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #tidied = false;

  constructor(stack: string) {
    this.#stack = stack;
  }

  run<T>(work: (session: Session) => Promise<T>): Promise<T> {
    this.#waiting += 1;
    const result = this.#queue.then(async () => {
      this.#session ??= patiently(() => openSession(this.#stack));
      return await work(await this.#session);
    });
    this.#queue = result.catch(() => {}).then(() => this.#finish());
    return result;
  }

  async #finish(): Promise<void> {
    this.#waiting -= 1;
    const session = await this.#session?.catch(() => undefined);
    if (session && !this.#tidied) {
      this.#tidied = true;
      await removeOutdated(session.client).catch(() => {});
    }
    if (this.#waiting > 0 && session) return;
    this.#session = undefined;
    await session?.client.end().catch(() => {});
  }
}

const servers = new Map<string, Server>();

function serverOf(stack: string): Server {
  const server = servers.get(stack) ?? new Server(stack);
  servers.set(stack, server);
  return server;
}

async function openSession(stack: string): Promise<Session> {
  const { client, connections } = await openServer(stack);
  try {
    return { client, connections, template: await currentTemplate(client, stack) };
  } catch (error) {
    await client.end().catch(() => {});
    throw error;
  }
}

/** Waits for a connection where the tests have taken all of them. */
async function patiently<T>(open: () => Promise<T>): Promise<T> {
  for (const deadline = performance.now() + 30_000; ; ) {
    try {
      return await open();
    } catch (error) {
      const { code } = (error instanceof UserError ? (error.cause ?? error) : error) as { code?: string };
      if (code === tooManyConnections && performance.now() < deadline) {
        await sleep(50 + Math.random() * 100);
        continue;
      }
      throw error instanceof UserError
        ? new Error(`${error.message}\n${error.next}`, { cause: error })
        : error;
    }
  }
}
