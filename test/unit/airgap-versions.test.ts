import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { cliVersion, plugins } from "../../airgap/folders.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

it("builds the CLI version that the npm package pulumi would download", () => {
  const goModule = read("airgap/go/go.mod");
  for (const part of ["pkg", "sdk"]) {
    expect(goModule).toMatch(
      new RegExp(`github\\.com/pulumi/pulumi/${part}/v3 v${cliVersion.replaceAll(".", "\\.")}\\b`),
    );
  }
});

it("has a stand-in for every Pulumi SDK that the program depends on, of the same version", () => {
  const { dependencies } = JSON.parse(read("package.json")) as { dependencies: Record<string, string> };
  const sdks = Object.entries(dependencies)
    .filter(([name]) => name.startsWith("@pulumi/") && name !== "@pulumi/pulumi")
    .map(([name, version]) => ({ name: name.slice("@pulumi/".length), version }));

  expect(plugins).toEqual(sdks);
  for (const { name, version } of plugins) {
    const source = read(`airgap/plugins/${name}/index.ts`);
    expect(source).toContain(`name: "${name}"`);
    expect(source).toContain(`version: "${version}"`);
  }
});
