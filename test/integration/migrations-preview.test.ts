import { rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { withoutGuardRails } from "../support/output.ts";
import { freePort, succeeded, TestProject, type TestStack } from "../support/project.ts";
import { value } from "../support/sql.ts";

let project: TestProject;
let stack: TestStack;

function write(name: string, up: string, down: string): void {
  project.write(`migrations/${name}.up.sql`, `${up}\n`);
  project.write(`migrations/${name}.down.sql`, `${down}\n`);
}

function remove(name: string): void {
  for (const direction of ["up", "down"]) rmSync(project.path(`migrations/${name}.${direction}.sql`));
}

const index = "CREATE INDEX purchase_order_status ON purchase_order (status);";

/** The lines that Pulumi prints below «Diagnostics:», without its marks. */
function diagnostics(output: string): string {
  const [, text = ""] = /Diagnostics:\n([\s\S]*?)(?:\n(?:Outputs|Resources):|$)/.exec(output) ?? [];
  return withoutGuardRails(text)
    .split("\n")
    .filter((line) => !/^\s*pulumi:pulumi:Stack \(/.test(line))
    .map((line) => line.replace(/^ {4}/, "").trimEnd())
    .join("\n")
    .trim();
}

async function applied(): Promise<unknown> {
  const { connections } = await stack.outputs();
  return value(connections.migrator.host.source, "SELECT max(name) FROM migrations.applied");
}

beforeAll(async () => {
  project = new TestProject();
  stack = await project.stack("production", {
    passphrase: "correct horse",
    settings: { port: await freePort(), memory: "256MB", deletionProtection: false, backups: false },
  });
  succeeded(await stack.up());
});
afterAll(() => project?.remove());

describe("pending migrations", () => {
  it("are told by preview with kinds, locks and findings; a dangerous one makes it fail, and stops up before any change", async () => {
    write(
      "0008_weight",
      "ALTER TABLE product ADD COLUMN weight_grams bigint;",
      "ALTER TABLE product DROP COLUMN weight_grams;",
    );
    write("0009_search", index, "DROP INDEX purchase_order_status;");
    const preview = await stack.preview();
    expect(preview.code).not.toBe(0);
    expect(diagnostics(preview.output)).toMatchInlineSnapshot(`
      "2 migrations to apply:
        0008_weight
            ALTER TABLE … ADD COLUMN: ACCESS EXCLUSIVE on product (reads and writes wait)
        0009_search
            CREATE INDEX: SHARE on purchase_order (writes wait), reads the whole table
            error in line 1: During normal index creation, table updates are blocked, but reads are still allowed. Use \`concurrently\` to avoid blocking writes. [require-concurrent-index-creation]
      error: The migrations hold what fails, can stop the application or loses data; nothing will be changed:
        - migrations/0009_search.up.sql:1: During normal index creation, table updates are blocked, but reads are still allowed. Use \`concurrently\` to avoid blocking writes. [require-concurrent-index-creation]
      What to do: correct it, or write it the safe way, which docs/migrations.md shows.
      Where it may pass, say why at the top of the file: -- migrate: allow require-concurrent-index-creation: why it may pass"
    `);
    const plan = await project.start("node", ["cli/main.ts", "migrate", "plan", "--stack", stack.name], stack)
      .finished;
    expect(plan.code, plan.output).toBe(1);
    expect(plan.output).toContain(`2 migrations to apply to stack ${stack.name}\n  0008_weight\n`);
    expect(plan.output).toContain(`-- migrations/0009_search.up.sql\n${index}`);
    const up = await stack.up();
    expect(up.code).not.toBe(0);
    expect(up.output).toContain("nothing will be changed:\n      - migrations/0009_search.up.sql:1: ");
    expect(up.output).not.toMatch(/^\s+at /m);
    expect(await applied()).toBe("0007_order_number_required");
  });

  it("pass with a reason in the file, and are applied", async () => {
    const reason = "-- migrate: allow require-concurrent-index-creation: a shop has few orders";
    project.write("migrations/0009_search.up.sql", `${reason}\n${index}\n`);
    const output = succeeded(await stack.upWithPreview());
    expect(output).toContain("The file says why: a shop has few orders");
    expect(await applied()).toBe("0009_search");
    expect((await stack.outputs()).migrations.at(-1)).toBe("0009_search");
    succeeded(await stack.preview("--expect-no-changes"));
  });
});

describe("migrations whose files are gone after git revert", () => {
  it("are warned of by preview and stop up, which names the two ways on", async () => {
    const { connections } = await stack.outputs();
    await value(
      connections.app.host.source,
      "INSERT INTO product (sku, name, price, currency, weight_grams) VALUES ('SKU-1', 'a', 1, 'EUR', 5) RETURNING 1",
    );
    remove("0009_search");
    remove("0008_weight");
    expect(diagnostics((await stack.preview()).output)).toMatchInlineSnapshot(`
      "warning: As the last update left it, the database will refuse this. The migrations do not fit the database:
        - 0008_weight is applied in the database, but its files are missing: restore them (\`git log --all -- '*0008_weight*'\` finds them); or take the migration back: set the target to "0007_order_number_required" (setting migrationsTarget, or ./db migrate down), for which the down script in the record is used
        - 0009_search is applied in the database, but its files are missing: restore them (\`git log --all -- '*0009_search*'\` finds them); or take the migration back: set the target to "0007_order_number_required" (setting migrationsTarget, or ./db migrate down), for which the down script in the record is used"
    `);
    const up = await stack.up();
    expect(up.code).not.toBe(0);
    expect(up.output).toContain("restore them");
    expect(up.output).toContain('set the target to "0007_order_number_required"');
    expect(await applied()).toBe("0009_search");
  });

  it("are not reverted by a target alone: preview tells what is lost, and up counts it and refuses", async () => {
    // Another target's permission is none for this one.
    await stack.set({ migrationsTarget: "0007", allowDataLoss: "0006" });
    expect(diagnostics(succeeded(await stack.preview()))).toMatchInlineSnapshot(`
      "2 migrations to revert: 0009_search, 0008_weight
      warning: This will be lost; how much that is, the update tells before it begins:
        0008_weight: column weight_grams of product
      The update refuses it until the setting allowDataLoss names the target: pulumi config set allowDataLoss 0007_order_number_required"
    `);
    const up = await stack.up();
    expect(up.code).not.toBe(0);
    expect(up.output).toContain("column weight_grams of product: 1 value, 8 bytes");
    expect(up.output).toContain("pulumi config set allowDataLoss 0007_order_number_required");
    expect(await applied()).toBe("0009_search");
  });

  it("are reverted from the database's record where allowDataLoss names the target", async () => {
    await stack.set({ allowDataLoss: "0007" });
    expect(succeeded(await stack.upWithPreview())).toContain("The setting allowDataLoss permits it.");
    expect(await applied()).toBe("0007_order_number_required");
    await stack.unset("allowDataLoss", "migrationsTarget");
    succeeded(await stack.up());
    succeeded(await stack.preview("--expect-no-changes"));
    expect((await stack.outputs()).migrations.at(-1)).toBe("0007_order_number_required");
  });
});

it("Pulumi's state holds of the migrations what a preview needs, and no script", async () => {
  const state = await stack.export();
  expect(state).toContain("table payment");
  expect(state).not.toContain("DROP TABLE payment");
  expect(state).not.toContain("CREATE TABLE payment");
});
