import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import manifest from "../../package.json" with { type: "json" };

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Record<string, unknown>;
}
interface Workflow {
  readonly permissions?: Record<string, string>;
  readonly jobs: Record<string, { readonly uses?: string; readonly steps?: readonly Step[] }>;
}

const folder = new URL("../../.github/workflows/", import.meta.url);
const workflows = readdirSync(folder).map((name): [string, Workflow] => [
  name,
  parse(readFileSync(new URL(name, folder), "utf8")),
]);

const steps = (workflow: Workflow) => Object.values(workflow.jobs).flatMap((job) => job.steps ?? []);

describe.each(workflows)("%s", (_, workflow) => {
  it("asks for permissions by name, and writes to nothing but pull requests", () => {
    expect(workflow.permissions).toBeDefined();
    const written = Object.entries(workflow.permissions ?? {}).filter(([, access]) => access !== "read");
    expect(written.map(([name]) => name).filter((name) => name !== "pull-requests")).toEqual([]);
  });

  it("uses actions at a full version", () => {
    for (const { uses } of steps(workflow)) if (uses !== undefined) expect(uses).toMatch(/@v\d+\.\d+\.\d+$/);
  });
});

describe("the workflows that run Pulumi", () => {
  it("install the version that the packages are", () => {
    const versions = workflows
      .flatMap(([, workflow]) => steps(workflow))
      .filter(({ uses }) => uses?.startsWith("pulumi/actions@"))
      .map((step) => step.with?.["pulumi-version"]);
    expect(versions).toEqual(versions.map(() => manifest.devDependencies.pulumi));
    expect(versions).toHaveLength(2);
  });
});

describe("the rehearsal of migrations", () => {
  const text = readFileSync(new URL("rehearse.yml", folder), "utf8");
  const workflow = parse(text);

  it("works for pull requests from forks: it has no secrets, writes nothing, and skips nobody", () => {
    expect(workflow.on).toEqual({ pull_request: null });
    expect(workflow.permissions).toEqual({ contents: "read" });
    expect(text).not.toMatch(/\$\{\{\s*(?:secrets|vars)\b|\bif:/);
  });

  it("has the history in which the base branch is, and puts no branch's name into a script", () => {
    expect(steps(workflow)[0]?.with?.["fetch-depth"]).toBe(0);
    for (const { run } of steps(workflow)) expect(run ?? "").not.toContain("${{");
  });
});
