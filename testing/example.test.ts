import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { useTestDatabase } from "./vitest.ts";

// A database of this file's own, as `./db reset` would leave it. Run it with the environment up:
//   npx vitest run --root . testing/example.test.ts
const database = useTestDatabase({ beforeAll, afterEach, afterAll });

async function query(sql: string, values: unknown[] = []): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    return (await client.query(sql, values)).rows;
  } finally {
    await client.end();
  }
}

it("a customer's address is taken, whatever its case", async () => {
  const add = "INSERT INTO customer (email, full_name) VALUES ($1, 'Eve')";
  await query(add, ["Eve@example.com"]);
  await expect(query(add, ["eve@EXAMPLE.com"])).rejects.toThrow(/customer_email_key/);
});

it("the next test sees what the one before it has left: the database is the file's", async () => {
  expect(await query("SELECT full_name FROM customer WHERE email = 'eve@example.com'")).toEqual([
    { full_name: "Eve" },
  ]);
});
