import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { describeError, UserError } from "../../cli/errors.ts";
import { createProgram } from "../../cli/program.ts";

const main = join(import.meta.dirname, "..", "..", "cli", "main.ts");

function db(args: readonly string[], env: Record<string, string> = {}) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(
      process.execPath,
      [main, ...args],
      { env: { PATH: "/usr/bin:/bin", ...env } },
      (error, stdout, stderr) => resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

test.each([[["--help"]], [["help"]], [["-h"]]])(
  "db %j prints the commands and the exit codes",
  async (args) => {
    const { code, stdout, stderr } = await db(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const command of createProgram().commands) expect(stdout).toContain(`  ${command.name()} `);
    expect(stdout).toContain("Exit codes:");
  },
);

test.each(createProgram().commands.map((command) => command.name()))(
  "db %s --help explains every option and the exit codes",
  async (name) => {
    const { code, stdout } = await db([name, "--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: db ${name}`);
    expect(stdout).toContain("Exit codes:");
    const command = createProgram().commands.find((candidate) => candidate.name() === name);
    for (const option of command?.options ?? []) expect(option.description).not.toBe("");
  },
);

describe("a mistake on the command line exits 2, says what is wrong and where help is", () => {
  test.each([
    ["an unknown command", ["strat"], "db: unknown command 'strat'\n(Did you mean start?)\n"],
    ["an unknown option", ["start", "--stak", "x"], "db: unknown option '--stak'\n(Did you mean --stack?)\n"],
    ["a missing stack", ["env"], "db: missing required argument 'stack'\n"],
    [
      "a role that there is not",
      ["env", "development", "--role", "superuser"],
      "db: option '--role <role>' argument 'superuser' is invalid. Allowed choices are app, migrator, readonly.\n",
    ],
    [
      "a stack that is a path",
      ["psql", "../x"],
      "db: command-argument value '../x' is invalid for argument 'stack'. A stack's name has letters, digits, hyphens, underscores and dots only.\n",
    ],
    [
      "an age without a unit",
      ["prune", "--older-than", "3"],
      "db: option '--older-than <age>' argument '3' is invalid. Expected a time with its unit (s, min, h, d), such as 12h or 7d.\n",
    ],
    [
      "a number of lines that is none",
      ["logs", "--tail", "many"],
      "db: option '--tail <lines>' argument 'many' is invalid. Expected a whole number.\n",
    ],
    [
      "an argument too many",
      ["doctor", "x"],
      "db: too many arguments for 'doctor'. Expected 0 arguments but got 1.\n",
    ],
  ])("%s", async (_, args, message) => {
    expect(await db(args)).toEqual({
      code: 2,
      stdout: "",
      stderr: `${message}    Help: ./db --help, ./db COMMAND --help\n`,
    });
  });
});

test("a stack other than development without a passphrase is refused before anything is done", async () => {
  const { code, stdout, stderr } = await db(["start", "--stack", "production"]);
  expect({ code, stdout }).toEqual({ code: 3, stdout: "" });
  expect(stderr).toMatchInlineSnapshot(`
    "db: stack production needs its passphrase, and neither PULUMI_CONFIG_PASSPHRASE nor PULUMI_CONFIG_PASSPHRASE_FILE is set.
        Set it in this shell, with nothing in the shell's history:
          IFS= read -rs PULUMI_CONFIG_PASSPHRASE; export PULUMI_CONFIG_PASSPHRASE
        or name a file that holds it: export PULUMI_CONFIG_PASSPHRASE_FILE=PATH
        Only the stack development has an empty passphrase, and what ./db start makes from it.
    "
  `);
});

test("an age is refused for a stack that is never removed by its age", async () => {
  const { code, stderr } = await db(["start", "--keep-for", "3d"]);
  expect(code).toBe(2);
  expect(stderr).toMatchInlineSnapshot(`
    "db: Pulumi.development.yaml has no keepFor: stack development is never removed by its age.
        Leave --keep-for out. To have ./db prune remove it, write keepFor into the file first.
    "
  `);
});

describe("an error's text", () => {
  test("of a user's mistake says what to do next and has no stack trace", () => {
    const error = new UserError("no Docker.", { next: "Start it:\n  dockerd" });
    expect(describeError(error, true)).toBe("db: no Docker.\n    Start it:\n      dockerd");
  });

  test("of something unexpected tells how to see the stack trace", () => {
    expect(describeError(new TypeError("x is undefined"), false)).toBe(
      "db: x is undefined\n    This was not expected. Run it again with DEBUG=1 for the stack trace.",
    );
    expect(describeError(new TypeError("x is undefined"), true)).toContain("cli-program.test.ts");
  });
});
