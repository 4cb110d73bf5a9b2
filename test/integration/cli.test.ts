import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { findObjects, removeObjects, stackLabels } from "../../cli/docker.ts";
import { docker, image, inspect, testLabel, testRun } from "../support/docker.ts";
import { type Finished, freePort, succeeded, TestProject, untilPrinted } from "../support/project.ts";
import { watchProcesses } from "../support/secrets.ts";

const run = promisify(execFile);

let project: TestProject;
/** A Pulumi project of its own, so that its stack «development» is nobody else's. */
const name = `cli-${randomBytes(3).toString("hex")}`;

beforeAll(() => {
  project = new TestProject();
  project.write("Pulumi.yaml", project.read("Pulumi.yaml").replace(/^name: .*/m, `name: ${name}`));
  project.write("Pulumi.development.yaml", stackFile("development"));
});

afterAll(async () => {
  for (const stack of ["development", "production"]) {
    await removeObjects(await findObjects(stackLabels(name, stack)));
  }
  await project?.remove();
});

/** The committed stack file, with the label of tests. */
function stackFile(stack: string, settings: Readonly<Record<string, unknown>> = {}): string {
  const file = parse(readFileSync(new URL(`../../Pulumi.${stack}.yaml`, import.meta.url), "utf8"));
  return stringify({ ...file, config: { ...file.config, labels: { [testLabel]: testRun }, ...settings } });
}

const main = () => project.path("cli", "main.ts");

function db(...args: string[]): Promise<Finished> {
  return project.start(process.execPath, [main(), ...args]).finished;
}

/** With another stack's passphrase, as its user's shell would have it. */
function dbWith(passphrase: string, ...args: string[]): Promise<Finished> {
  return project.start(process.execPath, [main(), ...args], { passphrase }).finished;
}

interface Report {
  readonly container: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly psql: string;
  readonly users: { role: string; name: string; password?: string }[];
}

function reportOf(finished: Finished): Report {
  succeeded(finished);
  return JSON.parse(finished.stdout);
}

/** Of the newest start: what the next test finds in place. */
let running: Report;

async function start(...args: string[]): Promise<Report & { output: string }> {
  const finished = await db("start", "--json", ...args);
  running = reportOf(finished);
  return { ...running, output: finished.output };
}

/** Runs a line as if it had been pasted into a shell that asks for nothing. */
async function paste(line: string): Promise<string> {
  const { stdout } = await run("sh", ["-c", `${line} -At -c 'SELECT current_user' </dev/null`], {
    cwd: project.folder,
  });
  return stdout.trimEnd();
}

describe("db start", () => {
  it("brings development up from nothing, and its psql line works when pasted", async () => {
    const finished = await db("start");
    const output = succeeded(finished);
    expect(output).toMatch(/^\+ pulumi stack init --no-select --stack development$/m);
    expect(output).toMatch(/^\+ pulumi up .*--stack development$/m);
    expect(output).toMatch(/^development is up: .* \(.* s\)$/m);
    expect(finished.stdout).toMatch(/^Host {6}127\.0\.0\.1$/m);
    expect(finished.stdout).toMatch(/^Database {2}shop$/m);

    const line = /^Connect:\n {2}(.*)$/m.exec(finished.stdout)?.[1] ?? "";
    expect(line).toMatch(/^PGPASSFILE=\.environments\/development\.pgpass psql '/);
    expect(await paste(line)).toBe("shop_app_a");
    expect(statSync(project.path(".environments", "development.pgpass")).mode & 0o777).toBe(0o600);
  });

  it("changes nothing when there is nothing to do, and shows passwords only when asked to", async () => {
    const before = await start();
    const { StartedAt } = (await inspect(before.container)).State as unknown as { StartedAt: string };
    const after = await start("--show-passwords");
    expect(after.output).toMatch(/ unchanged/);
    expect(after.output).not.toMatch(/ (created|updated|replaced|deleted)$/m);
    expect((await inspect(before.container)).State).toMatchObject({ StartedAt });

    expect(before.users.map(({ password }) => password)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    const passwords = after.users.map(({ password = "" }) => password);
    expect(new Set(passwords).size).toBe(5);
    for (const password of passwords) {
      expect(password.length).toBeGreaterThan(20);
      expect(before.output).not.toContain(password);
    }
  });

  it("makes the environment again after its container was restarted, which empties it", async () => {
    const { container } = running;
    await docker("restart", container);
    const { output, psql } = await start();
    expect(output).toContain("The server was restarted and has lost its data");
    expect(await paste(psql)).toBe("shop_app_a");
  });

  it("makes the environment again after its container was removed", async () => {
    const { container } = running;
    await docker("rm", "--force", container);
    const { output, psql } = await start();
    expect(output).toContain(`Container ${container} is gone or stopped`);
    expect(await paste(psql)).toBe("shop_app_a");
  });

  it("takes over from a Pulumi that was killed while it made the container", async () => {
    const begun = project.start(process.execPath, [main(), "start", "--again"]);
    await untilPrinted(begun, /container creating/);
    process.kill(-(begun.child.pid ?? 0), "SIGKILL");
    await begun.finished;
    // What else a kill can leave, in the moment in which it hits: a checksum of the state that breaks off.
    const [state = ""] = globSync(project.path(".pulumi-state/.pulumi/stacks/*/development.json"));
    writeFileSync(`${state}.attrs`, "");

    const { output, psql } = await start();
    expect(output).toContain("An earlier Pulumi command was killed and has left its lock behind");
    expect(output).toContain(
      "killed while it wrote its state: that is whole, and what else it left is removed",
    );
    expect(await paste(psql)).toBe("shop_app_a");
  });

  it("takes the state before, where Pulumi was killed while it wrote the state", async () => {
    const [state = ""] = globSync(project.path(".pulumi-state/.pulumi/stacks/*/development.json"));
    const text = readFileSync(state, "utf8");
    expect(existsSync(`${state}.bak`)).toBe(true);
    for (const part of ["", text.slice(0, text.length / 2)]) {
      writeFileSync(state, part);
      const { output, psql } = await start();
      expect(output).toContain("killed while it wrote its state: the one before is used");
      expect(await paste(psql)).toBe("shop_app_a");
    }
  });

  it("ends with 130 when interrupted, and goes on from there the next time", async () => {
    const begun = project.start(process.execPath, [main(), "start", "--again"]);
    await untilPrinted(begun, /role-owner creating/);
    process.kill(-(begun.child.pid ?? 0), "SIGINT");
    expect(await begun.finished).toMatchObject({ code: 130 });

    const { psql } = await start();
    expect(await paste(psql)).toBe("shop_app_a");
  });

  it("lets a second start of the same environment wait for the first", async () => {
    const [first, second] = await Promise.all([start(), start()]);
    expect([first.output, second.output].filter((text) => /Waiting for process \d+/.test(text))).toHaveLength(
      1,
    );
    expect(second.port).toBe(first.port);
  });
});

describe("db env", () => {
  it("writes a file with which a container in the network connects, and nobody else may read", async () => {
    const { container } = running;
    succeeded(await db("env", "development", "--from", "network", "--out", "app.env"));
    expect(statSync(project.path("app.env")).mode & 0o777).toBe(0o600);
    const [network = ""] = Object.keys((await inspect(container)).NetworkSettings.Networks);
    const said = await docker(
      ...[
        "run",
        "--rm",
        "--network",
        network,
        "--label",
        `${testLabel}=${testRun}`,
        "--env-file",
        project.path("app.env"),
      ],
      ...["--entrypoint", "sh", image, "-c", 'psql --no-password -At -c "SELECT current_user" "$DB_SOURCE"'],
    );
    expect(said).toBe("shop_app_a");
  });

  it("writes a file that a shell on the host reads", async () => {
    succeeded(await db("env", "development", "--role", "readonly", "--format", "sh"));
    const script = 'set -a; . .environments/development.env; psql -At -c "SELECT current_user" "$DB_SOURCE"';
    expect((await run("sh", ["-c", script], { cwd: project.folder })).stdout).toBe("shop_reader\n");
  });
});

describe("db psql", () => {
  it.each([
    ["app", "shop_app_a|shop"],
    ["migrator", "shop_migrator|shop"],
    ["readonly", "shop_reader|shop"],
    ["monitor", "shop_monitor|shop"],
    ["superuser", "postgres|postgres"],
  ])("logs in as %s", async (role, who) => {
    const { stdout } = await db(
      "psql",
      "development",
      "--role",
      role,
      "--",
      "-Atc",
      "SELECT current_user, current_database()",
    );
    expect(stdout).toBe(`${who}\n`);
  });

  it("takes development where no stack is named", async () => {
    const said = [
      await db("psql", "--role", "readonly", "--", "-Atc", "SELECT current_user"),
      await db("psql", "--", "-At", "-c", "SELECT current_database()"),
    ];
    expect(said.map(({ stdout }) => stdout)).toEqual(["shop_reader\n", "shop\n"]);
  });

  it("passes psql's exit code on", async () => {
    expect((await db("psql", "development", "--", "-v", "ON_ERROR_STOP=1", "-c", "SELECT 1/0")).code).toBe(1);
  });

  it("uses the container's psql where the machine has none, with the password on no command line", async () => {
    // Everything that the command needs, and no psql.
    const bin = project.path("bin");
    mkdirSync(bin);
    for (const tool of ["docker", "sh", "env"]) {
      const { stdout } = await run("sh", ["-c", `command -v ${tool}`]);
      symlinkSync(stdout.trim(), join(bin, tool));
    }
    const [, password = ""] =
      /:shop_app_a:([^:\n]*)$/m.exec(project.read(".environments/development.pgpass")) ?? [];
    expect(password.length).toBeGreaterThan(20);
    const watch = watchProcesses();
    const { stdout } = await run(
      process.execPath,
      [main(), "psql", "development", "--", "-Atc", "SELECT current_user, pg_sleep(1)"],
      { cwd: project.folder, env: { ...process.env, PATH: bin } },
    );
    const commands = await watch.stop();
    expect(stdout).toBe("shop_app_a|\n");
    expect(commands).toMatch(/docker exec .*psql/);
    expect(commands).not.toContain(password);
  });
});

describe("db doctor", () => {
  it("finds everything that is needed", async () => {
    const { code, stdout } = await db("doctor", "--json");
    const { findings, healthy } = JSON.parse(stdout);
    expect({ code, healthy }).toEqual({ code: 0, healthy: true });
    expect(findings).toContainEqual(
      expect.objectContaining({
        name: "Stack development",
        status: "ok",
        found: expect.stringMatching(/^\d\d resources/),
      }),
    );
    expect(findings).toContainEqual(expect.objectContaining({ name: "Image", status: "ok" }));
  });

  it("names a port that somebody else listens on", async () => {
    const port = await freePort();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    project.write("Pulumi.staging.yaml", `config:\n  profile: production\n  port: ${port}\n`);
    const { stdout } = await db("doctor");
    await new Promise((resolve) => server.close(resolve));
    expect(stdout).toContain(`note     Port ${port} `);
    expect(stdout).toContain(`pulumi config set port NUMBER --stack staging`);
  });
});

describe("production", () => {
  const passphrase = "a real one";
  let production: Report;

  it("is brought up with its passphrase, and psql makes the server prove who it is", async () => {
    const port = await freePort();
    project.write("Pulumi.production.yaml", stackFile("production", { port }));
    const finished = await dbWith(passphrase, "start", "--stack", "production", "--yes", "--json");
    const report = reportOf(finished);
    production = report;
    expect(report.port).toBe(port);
    expect(report.psql).toContain("sslmode=verify-full&sslrootcert=.environments%2Fproduction.ca.pem");
    expect(await paste(report.psql)).toBe("shop_app_a");
  });

  it("is opened with psql over verified TLS", async () => {
    const sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    const { stdout } = await dbWith(passphrase, "psql", "production", "--", "-Atc", sql, "-c", "\\conninfo");
    expect(stdout).toMatch(/^t\n/);
  });

  it("tells its status over verified TLS, and shows its log without a passphrase", async () => {
    const status = await dbWith(passphrase, "status", "production");
    expect(succeeded(status)).toMatch(/^Stack +production \(persistent\)$/m);
    expect(status.output).toMatch(/^Migrations +\d+_\w+ is the newest of \d+ in place, none pending$/m);
    await expect
      .poll(async () => (await dbWith(passphrase, "status", "production")).output)
      .toMatch(/^Backups +the newest base backup \(full\) is of \d+ \w+ ago/m);
    expect(succeeded(await db("logs", "production"))).toContain(
      "database system is ready to accept connections",
    );
    expect((await db("status", "production")).code).toBe(3);
    const stacks = JSON.parse((await db("list", "--json")).stdout) as { stack: string }[];
    expect(stacks.find(({ stack }) => stack === "production")).toMatchObject({
      state: "running",
      lifetime: "persistent",
    });
    expect(JSON.parse((await db("prune", "--older-than", "0", "--yes", "--json")).stdout)).toEqual([]);
  });

  it("has an env file with the authority's certificate, as a file for the host and in base64", async () => {
    succeeded(await dbWith(passphrase, "env", "production", "--out", "host.env"));
    const variables = Object.fromEntries(
      project
        .read("host.env")
        .split("\n")
        .filter(Boolean)
        .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
    expect(variables.DB_SSLMODE).toBe("require");
    expect(variables.DB_SSLROOTCERT).toMatch(/host\.env\.ca\.pem$/);
    expect(readFileSync(variables.DB_SSLROOTCERT ?? "", "utf8")).toBe(
      Buffer.from(variables.DB_SSLROOTCERT_BASE64 ?? "", "base64").toString(),
    );
  });

  it("is never destroyed by --again", async () => {
    const { code, output } = await dbWith(passphrase, "start", "--stack", "production", "--yes", "--again");
    expect(code).toBe(1);
    expect(output).toContain(
      "db: stack production keeps its data: --again, which destroys it, is not for it.",
    );
  });

  it("is not opened with a wrong passphrase, and says so", async () => {
    const { code, output } = await dbWith("a wrong one", "env", "production");
    expect(code).toBe(1);
    expect(output).toMatchInlineSnapshot(`
      "db: the passphrase does not open stack production.
          Set the one it was made with: PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE.
      "
    `);
  });

  it("goes on with its data after its container was removed", async () => {
    const { container, psql } = production;
    await docker("rm", "--force", container);
    const after = await dbWith(passphrase, "start", "--stack", "production", "--yes", "--json");
    expect(succeeded(after)).toContain(`Container ${container} is gone or stopped`);
    expect(await paste(psql)).toBe("shop_app_a");
  });
});
