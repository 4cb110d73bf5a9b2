import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { cliFolder, pluginFolder, plugins } from "../../airgap/folders.ts";
import { openHome, problemsOfHome } from "../../airgap/parity/homes.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "parity-home-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function install(beginning: string, names = plugins.map(({ name }) => name)): void {
  for (const plugin of plugins.filter(({ name }) => names.includes(name))) {
    mkdirSync(pluginFolder(folder, plugin), { recursive: true });
    writeFileSync(join(pluginFolder(folder, plugin), `pulumi-resource-${plugin.name}`), beginning);
  }
}

function installCli(bin: string): void {
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "pulumi"), "");
}

const withoutVersions = (problems: string[]) => problems.map((line) => line.replace(/ \d+\.\d+\.\d+/, ""));

it("names everything that a home lacks", () => {
  install("\x7fELF", ["docker", "random"]);
  expect(withoutVersions(problemsOfHome({ name: "genuine", folder }))).toEqual([
    "the CLI is missing: neither versions/ nor bin/ has it",
    "plugin command is missing",
    "plugin postgresql is missing",
    "plugin tls is missing",
  ]);
});

it("says that a home is not there at all", () => {
  expect(problemsOfHome({ name: "genuine", folder: join(folder, "nowhere") })).toEqual([
    "the folder does not exist",
  ]);
});

it("takes no stand-in for a genuine plugin, nor a genuine plugin for a stand-in", () => {
  installCli(join(folder, "bin"));
  install("#!/bin/sh\n");
  expect(problemsOfHome({ name: "stand-ins", folder })).toEqual([]);
  expect(withoutVersions(problemsOfHome({ name: "genuine", folder }))).toEqual(
    plugins.map(({ name }) => `plugin ${name} is a stand-in`),
  );
  install("\x7fELF");
  expect(problemsOfHome({ name: "genuine", folder })).toEqual([]);
  expect(withoutVersions(problemsOfHome({ name: "stand-ins", folder }))).toEqual(
    plugins.map(({ name }) => `plugin ${name} is the genuine one`),
  );
});

it("finds the CLI of the npm package before that of the installer", () => {
  installCli(join(folder, "bin"));
  expect(openHome({ name: "genuine", folder }).bin).toBe(join(folder, "bin"));
  installCli(cliFolder(folder));
  expect(openHome({ name: "genuine", folder }).bin).toBe(cliFolder(folder));
});
