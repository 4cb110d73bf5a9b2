import { createTestDatabase, type TestDatabase, type TestDatabaseOptions } from "./index.ts";

/** As far as this needs them, vitest's. They are handed in, since a project's tests bring their own vitest. */
export interface Hooks {
  beforeAll(work: () => Promise<void>): unknown;
  afterEach(work: (context: { readonly task: Task }) => Promise<void>): unknown;
  afterAll(work: () => Promise<void>): unknown;
}

interface Task {
  readonly name: string;
  readonly file: { readonly name: string };
  readonly result?:
    | { readonly state: string; readonly errors?: { message: string }[] | undefined }
    | undefined;
}

/**
 * Gives the tests of a file, or of a `describe`, a database of their own. Where one of them fails, the database is kept
 * for a day, and the test's message says where it is; otherwise it is removed after the last.
 *
 * @returns The database, once the tests run.
 */
export function useTestDatabase(
  hooks: Hooks,
  options: TestDatabaseOptions = {},
): Pick<TestDatabase, "name" | "url" | "urlOf"> {
  let database: TestDatabase | undefined;
  const there = () => {
    if (!database) throw new Error("The database is made before the first test, and not there yet.");
    return database;
  };
  hooks.beforeAll(async () => {
    database = await createTestDatabase(options);
  });
  hooks.afterEach(async ({ task }) => {
    const [error] = task.result?.errors ?? [];
    if (task.result?.state !== "fail" || !database || !error) return;
    await database.keep(`kept, since the test «${task.name}» failed (${task.file.name})`);
    error.message += `\n\nThe database is kept for a day: ${database.url}`;
  });
  hooks.afterAll(async () => {
    await database?.drop();
  });
  return {
    get name() {
      return there().name;
    },
    get url() {
      return there().url;
    },
    urlOf: (role) => there().urlOf(role),
  };
}
