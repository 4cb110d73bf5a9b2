import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ClientContainer, startClient } from "../support/client-container.ts";
import { freePort, type Outputs, succeeded, TestProject, type TestStack } from "../support/project.ts";
import { query, value } from "../support/sql.ts";

/**
 * The longest that each may be: 63 bytes are PostgreSQL's limit, and roles are the application's name and an ending.
 * Characters that are not here (% in a database name, for one) are refused by the settings.
 */
const appName = `Shöp "x" 'y' $1 %s ; -- {} `.padEnd(52, "z");
const databaseName = `db "quoted" 'single' $HOME /slash &r @ : ü 漢 \\n {} `.padEnd(60, "z");
/** The server itself refuses quotes, $, \ and comment marks in the name of an extension's owner. */
const superuserName = "Root admin %s #1; - ü";
const password = `p'"%20 $HOME \\ ; @:/?#[]& ü 漢 -- {} \`x\``;

let project: TestProject;
let stack: TestStack;
let outputs: Outputs;
let client: ClientContainer;

beforeAll(async () => {
  project = new TestProject();
  stack = await project.stack("production", {
    passphrase: password,
    settings: { port: await freePort(), memory: "256MB", appName, databaseName, superuserName },
  });
  await stack.setByPulumi({ superuserPassword: password }, { secret: true });
});

afterAll(async () => {
  await client?.remove();
  await project?.remove();
});

describe("names and passwords with quotes, spaces, %, $ and unicode, of 63 bytes", () => {
  it("have the length that is tested", () => {
    expect(Buffer.byteLength(`${appName}_readwrite`)).toBe(63);
    expect(Buffer.byteLength(databaseName)).toBe(63);
  });

  it("come up, and stay without changes", async () => {
    succeeded(await stack.up());
    outputs = await stack.outputs();
    succeeded(await stack.preview("--expect-no-changes"));
    succeeded(await stack.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes"));
  });

  it("are the names in the server, letter by letter", async () => {
    const source = outputs.connections.superuser.host.source;
    expect(await value(source, "SELECT current_user")).toBe(superuserName);
    expect(await query(source, "SELECT 1 FROM pg_database WHERE datname = $1", [databaseName])).toEqual([
      [1],
    ]);
    const roles = await query(source, "SELECT rolname FROM pg_roles WHERE rolname ~ '^Sh' ORDER BY 1");
    expect(roles.flat()).toEqual(
      [
        "app_a",
        "app_b",
        "backup",
        "health",
        "migrator",
        "monitor",
        "owner",
        "reader",
        "readonly",
        "readwrite",
      ].map((role) => `${appName}_${role}`),
    );
  });

  it("work in the URLs of the outputs, from the host and with psql from the network", async () => {
    expect(outputs.connections.superuser.password).toBe(password);
    for (const { host, network, username } of Object.values(outputs.connections)) {
      expect(await value(host.source, "SELECT current_user")).toBe(username);
      client ??= await startClient(stack.name, outputs.networkName);
      expect(await client.psql(network.source, "SELECT current_user")).toBe(username);
    }
    expect(await value(outputs.DB_SOURCE, "SELECT current_database()")).toBe(databaseName);
    expect(await value(outputs.DB_SOURCE, "SELECT count(*) FROM customer")).toBe("0");
  });

  it("survive a replacement of the container, whose start sets the superuser's password again", async () => {
    await stack.setByPulumi({ superuserPassword: `${password} another` }, { secret: true });
    succeeded(await stack.up());
    outputs = await stack.outputs();
    expect(await value(outputs.connections.superuser.host.source, "SELECT current_user")).toBe(superuserName);
    succeeded(await stack.preview("--expect-no-changes"));
  });
});
