import { readFileSync } from "node:fs";
import { expect, it, vi } from "vitest";
import { parse } from "yaml";
import { mockEngine } from "../support/mocks.ts";

const root = new URL("../../", import.meta.url);
const project = parse(readFileSync(new URL("Pulumi.yaml", root), "utf8"));

/** Keys may be written with the project's name in front: `pulumi config set` does so. */
const longKey = (key: string) => (key.includes(":") ? key : `${project.name}:${key}`);

/** The configuration that the engine hands to the program: the stack's file over the project's defaults. */
function configurationOf(stack: string): Record<string, string> {
  const own = parse(readFileSync(new URL(`Pulumi.${stack}.yaml`, root), "utf8")).config as object;
  const defaults = Object.entries(project.config as Record<string, { default?: unknown }>)
    .filter(([, { default: value }]) => value !== undefined)
    .map(([key, entry]): [string, unknown] => [key, entry.default]);
  return Object.fromEntries(
    [...defaults, ...Object.entries(own)].map(([key, value]) => [
      longKey(key),
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );
}

async function run(stack: string) {
  vi.resetModules();
  const pulumi = await import("@pulumi/pulumi");
  const registered = await mockEngine(project.name, stack);
  pulumi.runtime.setAllConfig(configurationOf(stack));
  const program = await import("../../index.ts");
  await new Promise((resolve) => program.migrations.apply(resolve));
  return { registered, program };
}

it("development comes up as its stack file says", async () => {
  const { registered, program } = await run("development");
  expect(program.DB_DRIVER).toBe("postgres");
  expect(program.lifetime).toBe("ephemeral");
  expect(program.tls.mode).toBe("disable");
  expect(registered.find(({ type }) => type.endsWith(":Container"))?.name).toBe("postgres-container");
  expect(registered.some(({ type }) => type.endsWith(":Volume"))).toBe(false);
});

it("production comes up as its stack file says", async () => {
  const { registered, program } = await run("production");
  expect(program.lifetime).toBe("persistent");
  expect(program.tls.mode).toBe("require");
  const volumes = registered
    .filter(({ type }) => type.endsWith(":Volume"))
    .map(({ inputs }) => String(inputs.name));
  expect(volumes.sort()).toEqual(
    ["backups", "data", "drill"].map((role) => `${project.name}-production-${role}`),
  );
  const container = registered.find(({ name }) => name === "postgres-container");
  const external = Number(configurationOf("production")[longKey("port")]);
  expect(container?.inputs.ports).toEqual([{ internal: 5432, external, ip: "127.0.0.1" }]);
});

it("hides every output that has a password in it as a whole", async () => {
  const { program } = await run("production");
  const { isSecret } = await import("@pulumi/pulumi");
  expect(await isSecret(program.DB_SOURCE)).toBe(true);
  expect(await isSecret(program.connections)).toBe(true);
  expect(await isSecret(program.migrations)).toBe(false);
});

it("fits on a page", () => {
  expect(readFileSync(new URL("index.ts", root), "utf8").split("\n").length).toBeLessThan(60);
});
