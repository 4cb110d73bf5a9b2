import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { formatFindings } from "../../cli/commands/doctor.ts";
import { imageSetting, textSetting } from "../../cli/stack-files.ts";

const main = join(import.meta.dirname, "..", "..", "cli", "main.ts");

function doctor(args: readonly string[]) {
  const env = { ...process.env, DOCKER_HOST: "unix:///nonexistent.sock", PULUMI_CONFIG_PASSPHRASE: "" };
  return new Promise<{ code: number; stdout: string }>((resolve) => {
    execFile(process.execPath, [main, "doctor", ...args], { env }, (error, stdout) =>
      resolve({ code: error ? Number(error.code) : 0, stdout }),
    );
  });
}

describe("without a Docker Engine that answers", () => {
  test("doctor says so, what to do, and exits 3", async () => {
    const { code, stdout } = await doctor([]);
    expect(code).toBe(3);
    expect(stdout).toMatch(/^MISSING {2}Docker Engine .+\n {27,}\S/m);
    expect(stdout).toMatch(/\nSomething that is needed is missing: see above\.\n$/);
  });

  test("doctor --json tells a script the same", async () => {
    const { code, stdout } = await doctor(["--json"]);
    expect(code).toBe(3);
    const report = JSON.parse(stdout);
    expect(report.healthy).toBe(false);
    expect(report.findings).toContainEqual(
      expect.objectContaining({ name: "Docker Engine", status: "missing", next: expect.any(String) }),
    );
    expect(report.findings).toContainEqual(
      expect.objectContaining({
        name: "Stack production",
        status: "note",
        found: expect.stringContaining("its passphrase is not set in this shell"),
      }),
    );
  });
});

test("findings stand in columns, with what to do below", () => {
  const text = formatFindings(
    [
      { name: "Node.js", status: "ok", found: "v24" },
      { name: "Docker Engine", status: "missing", found: "none", next: "Install Docker" },
    ],
    false,
  );
  expect(text).toMatchInlineSnapshot(`
    "ok       Node.js        v24
    MISSING  Docker Engine  none
                            Install Docker

    Something that is needed is missing: see above.
    "
  `);
});

describe("a setting of a stack's file", () => {
  const file = [
    "config:",
    "  db:profile: production",
    '  db:image: "postgres:15-bookworm" # quoted',
    "  port: 6000 # plain, and without the namespace",
    "  healthCheck:",
    "    memory: 1",
    "  'db:bindAddress': '0.0.0.0'",
    "  other:image: x",
    "",
  ].join("\n");

  test.each([
    ["profile", "production"],
    ["image", "postgres:15-bookworm"],
    ["port", "6000"],
    ["bindAddress", "0.0.0.0"],
    ["memory", undefined],
  ])("%s is read as text", (key, value) => expect(textSetting(file, "db", key)).toBe(value));

  test("image falls back to the program's default", () => {
    expect(imageSetting(undefined, "db")).toBe("postgres:17-trixie");
    expect(imageSetting(file, "other")).toBe("x");
    expect(imageSetting("config:\n  other:image: x\n", "db")).toBe("postgres:17-trixie");
  });
});
