import { randomBytes } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { findObjects, removeObjects, stackLabels } from "../../cli/docker.ts";
import { docker, testLabel, testRun } from "../support/docker.ts";
import { hasStackTrace } from "../support/output.ts";
import { type Finished, type Outputs, succeeded, TestProject } from "../support/project.ts";
import { open, query, refusal, value } from "../support/sql.ts";

/** A Pulumi project of its own, so that its stack «development» is nobody else's. */
const name = `reset-${randomBytes(3).toString("hex")}`;
let project: TestProject;
let outputs: Outputs;
let superuser: string;
/** The application's database, as the superuser. */
let inside: string;

const main = () => project.path("cli", "main.ts");
const start = (...args: string[]) => project.start(process.execPath, [main(), ...args]);
const db = (...args: string[]): Promise<Finished> => start(...args).finished;
const onDevelopment = (...args: string[]) => project.pulumi([...args, "--stack", "development"]);

interface Report {
  readonly template: string;
  readonly migrations: number;
  readonly endedSessions: number;
  readonly pulumi: boolean;
}

async function reset(): Promise<Report & { output: string }> {
  const finished = await db("reset", "--json");
  succeeded(finished);
  return { ...JSON.parse(finished.stdout), output: finished.output };
}

const databases = async () =>
  (await query(superuser, "SELECT datname FROM pg_database ORDER BY datname")).flat();

/** What belongs to the application's database without being in it. */
const properties = (database = "shop") =>
  query(
    superuser,
    `SELECT pg_get_userbyid(datdba), datacl::text, datconnlimit, datallowconn, encoding, datcollate,
            datctype, datlocprovider::text, dattablespace, shobj_description(d.oid, 'pg_database'),
            (SELECT array_agg(ARRAY[setrole::text, setconfig::text] ORDER BY setrole)::text
               FROM pg_db_role_setting WHERE setdatabase = d.oid)
       FROM pg_database AS d WHERE datname = '${database}'`,
  );

/** Every row of the tables, with what follows from them: sequences, statistics, large objects. */
async function contents(): Promise<unknown> {
  return await query(
    inside,
    `SELECT table_schema, table_name,
            query_to_xml(format('SELECT * FROM %I.%I ORDER BY 1', table_schema, table_name), true, true, '')::text
       FROM information_schema.tables
      WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'
      UNION ALL
     SELECT schemaname, sequencename, last_value::text FROM pg_sequences
      UNION ALL
     SELECT 'large objects', '', count(*)::text FROM pg_largeobject_metadata
      UNION ALL
     SELECT 'extension', extname, extversion FROM pg_extension
      ORDER BY 1, 2`,
  );
}

const makeDirty = () =>
  query(
    inside,
    `SET search_path TO app; INSERT INTO customer (email, full_name) VALUES ('x@example.com', 'X');
     DELETE FROM payment; DROP TABLE order_line; CREATE TABLE public.mine (); SELECT lo_create(0)`,
  );

let fresh: unknown;

beforeAll(async () => {
  project = new TestProject();
  project.write("Pulumi.yaml", project.read("Pulumi.yaml").replace(/^name: .*/m, `name: ${name}`));
  const file = parse(readFileSync(new URL("../../Pulumi.development.yaml", import.meta.url), "utf8"));
  const room = { memory: "2GB", tmpfsSize: "1300MB" };
  const config = { ...file.config, ...room, labels: { [testLabel]: testRun }, seeds: "demo" };
  project.write("Pulumi.development.yaml", stringify({ ...file, config }));
  succeeded(await onDevelopment("stack", "init"));
  succeeded(await onDevelopment("up", "--yes", "--skip-preview"));
  const { stdout } = await onDevelopment("stack", "output", "--json", "--show-secrets");
  outputs = JSON.parse(stdout);
  superuser = outputs.connections.superuser.host.source;
  inside = superuser.replace("/postgres?", "/shop?");
  fresh = await contents();
});

afterAll(async () => {
  await removeObjects(await findObjects(stackLabels(name, "development")));
  await project?.remove();
});

describe("up", () => {
  it("puts the chosen seed data into a new database", async () => {
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("4");
    expect(
      await query(
        outputs.DB_SOURCE,
        "SELECT status, sum(line_total)::text FROM purchase_order JOIN order_line ON id = purchase_order_id GROUP BY 1 ORDER BY 1",
      ),
    ).toEqual([
      ["cancelled", "3.90"],
      ["open", "50.00"],
      ["paid", "39.00"],
      ["shipped", "32.80"],
    ]);
  });
});

describe("db reset", () => {
  it("gives the database back as it was after up, ends who is in it, and lets nothing else go", async () => {
    await query(superuser, "CREATE DATABASE others_own");
    await query(
      superuser,
      `ALTER DATABASE shop SET search_path TO '$user', 'My "schema"', app;
       ALTER DATABASE shop SET auto_explain.log_min_duration TO '3s';
       ALTER ROLE shop_app_a IN DATABASE shop SET application_name TO 'it''s \\ me';
       ALTER DATABASE shop CONNECTION LIMIT 40;
       COMMENT ON DATABASE shop IS 'the team''s';
       GRANT CREATE ON DATABASE shop TO shop_reader WITH GRANT OPTION;
       SET ROLE shop_reader; GRANT CREATE ON DATABASE shop TO shop_backup; RESET ROLE`,
    );
    const before = await properties();
    await makeDirty();
    const session = await open(outputs.DB_SOURCE);
    const ended = new Promise<void>((resolve) => session.on("end", () => resolve()));
    const otherSession = await open(superuser.replace("/postgres?", "/others_own?"));

    expect(await reset()).toMatchObject({ template: "kept", migrations: 7, endedSessions: 1, pulumi: false });
    await ended;
    expect((await otherSession.query("SELECT 1")).rowCount).toBe(1);
    await otherSession.end();
    expect(await contents()).toEqual(fresh);
    expect(await properties()).toEqual(before);
    expect(await refusal(outputs.connections.readonly.host.source, "DELETE FROM app.payment")).toMatch(
      "permission denied",
    );
    expect(await databases()).toContain("others_own");
    await query(superuser, "DROP DATABASE others_own");
  });

  it("says in one line what it did", async () => {
    expect(succeeded(await db("reset"))).toMatch(
      /^development: database shop is as new: 7 migrations, 3 files of seed data \(\d+\.\d\d s\)\n$/,
    );
  });

  it("leaves nothing that Pulumi would change, refreshed or not", async () => {
    // As the first test has changed what Pulumi looks after.
    await query(superuser, "ALTER DATABASE shop CONNECTION LIMIT -1");
    await reset();
    succeeded(await onDevelopment("preview", "--expect-no-changes"));
    succeeded(await onDevelopment("preview", "--refresh", "--expect-no-changes"));
  });

  it("works while others connect all the time, and twice at once", async () => {
    let stop = false;
    const connecting = Promise.all(
      Array.from({ length: 3 }, async () => {
        while (!stop) {
          await value(outputs.DB_SOURCE, "SELECT 1").catch(() => {});
          await sleep(1);
        }
      }),
    );
    await makeDirty();
    for (const finished of await Promise.all([db("reset"), db("reset")])) succeeded(finished);
    stop = true;
    await connecting;
    expect(await contents()).toEqual(fresh);
  });

  it.each([
    ["while it cloned", `CREATE DATABASE "reset#next" TEMPLATE "template#base"`],
    ["after it had closed the database", "ALTER DATABASE shop ALLOW_CONNECTIONS false"],
    [
      "before it dropped the old one",
      `CREATE DATABASE "reset#old" TEMPLATE "template#base"; CREATE DATABASE template_building`,
    ],
    ["by somebody who dropped the database", "DROP DATABASE shop WITH (FORCE)"],
  ])("mends what was interrupted %s", async (_, sql) => {
    const before = await properties();
    for (const statement of sql.split("; ")) await query(superuser, statement);
    await reset();
    expect(await contents()).toEqual(fresh);
    if (!sql.startsWith("DROP")) expect(await properties()).toEqual(before);
    expect((await databases()).filter((each) => String(each).startsWith("reset#"))).toEqual([]);
  });

  it("killed at any moment, the next one ends well", async () => {
    for (let pause = 60; pause < 300; pause += 30) {
      const { child, finished } = start("reset");
      await sleep(pause);
      child.kill("SIGKILL");
      await finished;
    }
    await makeDirty().catch(() => {});
    await reset();
    expect(await contents()).toEqual(fresh);
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("4");
  });

  it("makes room by dropping the old database first, where both do not fit into memory", async () => {
    const shell = (script: string) => docker("exec", outputs.containerName, "sh", "-c", script);
    await query(superuser, "CHECKPOINT");
    await shell(
      'avail=$(df --block-size=1 --output=avail "$PGDATA" | tail -1); fallocate -l $((avail - 6000000)) "$DATA_MOUNT/fill"',
    );
    try {
      const refused = await db("testdb", "new");
      expect(refused.code).toBe(1);
      expect(refused.output).toMatch(
        /^db: There is no room left in the server's memory for another database: .*\nWhat to do: raise tmpfsSize/,
      );
      await makeDirty();
      await reset();
    } finally {
      await shell('rm "$DATA_MOUNT/fill"');
    }
    expect(await contents()).toEqual(fresh);
  });

  it("takes over new migrations and changed ones, and Pulumi knows of them", async () => {
    const write = (up: string) => {
      project.write("migrations/0008_weight.up.sql", up);
      project.write("migrations/0008_weight.down.sql", "ALTER TABLE product DROP COLUMN weight;\n");
    };
    write("ALTER TABLE product ADD COLUMN weight integer;\n");
    const added = await reset();
    expect(added).toMatchObject({ template: "built", migrations: 8, pulumi: true });
    expect(added.output).toContain("Migrations or seed data have changed: building a new template");
    expect(added.output).toContain("1 migration to apply");

    write("ALTER TABLE product ADD COLUMN weight numeric;\n");
    const changed = await reset();
    expect(changed.output).toContain("8 migrations to apply");
    expect(await value(inside, "SELECT pg_typeof(weight)::text FROM app.product LIMIT 1")).toBe("numeric");
    succeeded(await onDevelopment("preview", "--expect-no-changes"));
    expect(await reset()).toMatchObject({ template: "kept", migrations: 8, pulumi: false });
  });

  it("leaves everything as it was where a migration or seed data fails, and says where", async () => {
    await query(outputs.DB_SOURCE, "INSERT INTO customer (email, full_name) VALUES ('mine@x', 'Mine')");
    project.write("migrations/0008_weight.up.sql", "ALTER TABLE product\n  ADD COLUM weight integer;\n");
    const failed = await db("reset");
    expect(failed.code).toBe(1);
    expect(failed.output).toContain('migrations/0008_weight.up.sql:2:20: syntax error at or near "integer"');
    rmSync(project.path("migrations/0008_weight.up.sql"));
    rmSync(project.path("migrations/0008_weight.down.sql"));
    project.write("seeds/demo/40_broken.sql", "SELECT 1;\n\nINSERT INTO customer (email) VALUES ('a@b');\n");
    const unseeded = await db("reset");
    expect(unseeded.output).not.toContain("Settings have changed too");
    const settings = project.read("Pulumi.development.yaml");
    project.write("Pulumi.development.yaml", `${settings}# another text\n`);
    expect((await db("reset")).output).toContain("Settings have changed too");
    project.write("Pulumi.development.yaml", settings);
    rmSync(project.path("seeds/demo/40_broken.sql"));
    expect(unseeded.code).toBe(1);
    expect(unseeded.output).toContain("seeds/demo/40_broken.sql:3:1: null value in column");
    expect(hasStackTrace(failed.output + unseeded.output)).toBe(false);
    expect(await value(outputs.DB_SOURCE, "SELECT full_name FROM customer WHERE email = 'mine@x'")).toBe(
      "Mine",
    );
  });

  it("runs a program among the seed data as the owner, by the URL that it is given", async () => {
    writeFileSync(
      project.path("seeds/demo/40_program.ts"),
      `import pg from "pg";
const client = new pg.Client({ connectionString: process.env.DB_SOURCE });
await client.connect();
await client.query("CREATE TABLE made_by_program AS SELECT current_user AS who");
await client.end();
console.log("rows: " + 1);
`,
    );
    const { output } = await reset();
    expect(output).toContain("rows: 1");
    expect(await value(outputs.DB_SOURCE, "SELECT who FROM made_by_program")).toBe("shop_owner");
    const owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'made_by_program'";
    expect(await value(inside, owner)).toBe("shop_owner");
  });

  it("refuses a stack that keeps its data, and one that is not there", async () => {
    const state = JSON.parse((await onDevelopment("stack", "export")).stdout);
    for (const { type, outputs: values } of state.deployment.resources) {
      if (type === "pulumi:pulumi:Stack") values.lifetime = "persistent";
    }
    const text = JSON.stringify(state)
      .replaceAll("::development::", "::kept::")
      .replaceAll("development:", "kept:");
    project.write("kept.json", text.replaceAll(`${name}-development`, `${name}-kept`));
    project.write("Pulumi.kept.yaml", project.read("Pulumi.development.yaml"));
    const passphrase = { PULUMI_CONFIG_PASSPHRASE_FILE: "/dev/null" };
    succeeded(await project.pulumi(["stack", "init", "kept", "--no-select"]));
    succeeded(await project.pulumi(["stack", "import", "--force", "--stack", "kept", "--file", "kept.json"]));
    const before = await contents();
    const { finished } = project.start("env", [
      ...Object.entries(passphrase).map((entry) => entry.join("=")),
      ...[process.execPath, main(), "reset", "kept"],
    ]);
    const refused = await finished;
    expect(refused.output).toMatch(/stack kept keeps its data: it can neither be reset/);
    expect(refused.code).toBe(1);
    expect(await contents()).toEqual(before);
  });
});

describe("databases for tests", () => {
  interface Testing {
    createTestDatabase(): Promise<{
      name: string;
      url: string;
      urlOf(role: string): string;
      drop(): Promise<void>;
    }>;
  }
  let testing: Testing;

  beforeAll(async () => {
    testing = await import(pathToFileURL(project.path("testing", "index.ts")).href);
  });

  beforeEach(async () => {
    succeeded(await db("testdb", "drop", "--all"));
  });

  it("have what the application's has after up, for each role what it may do there, and go when dropped", async () => {
    const one = await testing.createTestDatabase();
    const two = await testing.createTestDatabase();
    await query(one.url, "DELETE FROM payment");
    expect(await value(one.url, "SELECT count(*) FROM payment")).toBe("0");
    expect(await value(two.url, "SELECT count(*) FROM payment")).toBe("2");
    const acl = (database: string) =>
      query(
        superuser,
        `SELECT grantee::regrole::text, privilege_type, is_grantable FROM pg_database, aclexplode(datacl)
          WHERE datname = '${database}' AND grantee::regrole::text NOT IN ('shop_reader', 'shop_backup') ORDER BY 1, 2`,
      );
    expect(await acl(one.name)).toEqual(await acl("shop"));
    expect(await refusal(one.urlOf("readonly"), "DELETE FROM app.customer")).toMatch("permission denied");
    expect(await refusal(one.url, "CREATE TABLE mine ()")).toMatch("permission denied");
    await query(one.urlOf("migrator"), "CREATE TABLE app.mine ()");
    await one.drop();
    await two.drop();
    expect((await databases()).filter((each) => String(each).startsWith("testdb"))).toEqual([]);
  });

  it("are made, listed and dropped by the command line too", async () => {
    const { stdout } = await db("testdb", "new");
    expect(await value(stdout.trim(), "SELECT current_user || count(*) FROM customer")).toBe("shop_app_a4");
    expect(succeeded(await db("testdb", "list"))).toMatch(/^testdb_\w+ +0 min +\d\.\d MB +0 sessions\n$/);
    expect(succeeded(await db("testdb", "drop", stdout.trim()))).toBe("1 dropped\n");
    const wrong = await db("testdb", "drop", "shop");
    expect(wrong.code).toBe(2);
    expect(wrong.output).toMatch(/^db: shop is no database for tests\./);
  });

  it("of killed runs are removed after an hour, those that were kept after a day, and none that is in use", async () => {
    const ago = (hours: number, ending: string) => {
      const time = new Date(Date.now() - hours * 3_600_000).toISOString().slice(0, 19).replace(/[-:]/g, "");
      return `testdb_${time.replace("T", "_")}_${ending.repeat(8)}`;
    };
    const [old, young, kept, keptLong, used] = [
      ago(2, "a"),
      ago(0.5, "b"),
      ago(2, "c"),
      ago(25, "d"),
      ago(2, "e"),
    ];
    for (const each of [old, young, kept, keptLong, used]) await query(superuser, `CREATE DATABASE ${each}`);
    for (const each of [kept, keptLong]) await query(superuser, `COMMENT ON DATABASE ${each} IS 'why'`);
    const session = await open(superuser.replace("/postgres?", `/${used}?`));
    const { stdout } = await db("testdb", "new", "--json");
    await session.end();
    const left = (await databases()).filter((each) => String(each).startsWith("testdb"));
    expect(left.toSorted()).toEqual([young, kept, used, JSON.parse(stdout).name].toSorted());
  });

  it("are not made of a template that the files have left behind", async () => {
    project.write("seeds/demo/50_more.sql", "SELECT 1;\n");
    const stale = await db("testdb", "new");
    rmSync(project.path("seeds/demo/50_more.sql"));
    expect(stale.output).toBe(
      "db: migrations, seed data or settings of stack development have changed since its template was made.\n    ./db reset development\n",
    );
  });

  it("can be had by the hundred at once", async () => {
    const made = await Promise.all(Array.from({ length: 100 }, () => testing.createTestDatabase()));
    expect(new Set(made.map((each) => each.name)).size).toBe(100);
    // All in use at the same time, as far as the server has connections.
    const counts = await Promise.all(
      made.slice(0, 80).map(({ url }) => value(url, "SELECT count(*) FROM customer, pg_sleep(0.2)")),
    );
    expect(new Set(counts)).toEqual(new Set(["4"]));
    await Promise.all(made.map((each) => each.drop()));
    expect(await db("testdb", "list").then(succeeded)).toBe("no databases for tests\n");
  });
});

describe("useTestDatabase", () => {
  const vitest = (file: string) =>
    project.start(process.execPath, [
      project.path("node_modules", "vitest", "vitest.mjs"),
      ...["run", "--root", project.folder, "--no-color", file],
    ]).finished;

  it("gives a file of tests a database of its own, and removes it afterwards", async () => {
    expect(succeeded(await vitest("testing/example.test.ts"))).toMatch(/Tests +2 passed/);
    expect(succeeded(await db("testdb", "list"))).toBe("no databases for tests\n");
  });

  it("keeps it where a test failed, and says where it is in the test's message", async () => {
    const text = project.read("testing/example.test.ts").replace("customer_email_key", "no_such_key");
    project.write("testing/failing.test.ts", text);
    const { code, output } = await vitest("testing/failing.test.ts");
    expect(code).toBe(1);
    const url = /The database is kept for a day: (\S+)/.exec(output)?.[1] ?? "";
    expect(await value(url, "SELECT count(*) FROM customer WHERE full_name = 'Eve'")).toBe("1");
    expect(succeeded(await db("testdb", "list"))).toMatch(/kept, since the test «a customer's address/);
  });
});
