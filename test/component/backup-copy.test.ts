import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { mockEngine, type Registered, resolved } from "../support/mocks.ts";

const registered: Registered[] = await mockEngine("postgres-environments", "test");
const { BackupCopy } = await import("../../components/backups/copy.ts");

async function copyOf(
  name: string,
  options: { encryption?: boolean; key?: string } = {},
): Promise<{ resources: Registered[]; warnings: string[] }> {
  const warn = vi.spyOn(pulumi.log, "warn").mockResolvedValue();
  const start = registered.length;
  const copy = new BackupCopy(name, {
    copy: {
      config: pulumi.secret("[nas]\ntype = sftp\npass = storage-password\n"),
      path: "shop/production",
      every: 60,
      encryption: options.encryption ?? true,
      key: options.key === undefined ? undefined : pulumi.secret(options.key),
    },
    key: pulumi.secret(options.key ?? "generated-key"),
    prefix: "shop-test",
    labels: (role) => [{ label: "role", value: role }],
    repository: { volumeName: "shop-test-backups", containerPath: "/repository", readOnly: true },
  });
  await resolved(copy.container.name);
  const warnings = warn.mock.calls.map(([text]) => text);
  warn.mockRestore();
  return { resources: registered.slice(start), warnings };
}

const container = (resources: Registered[]) => {
  const [only] = resources.filter(({ type }) => type === "docker:index/container:Container");
  if (!only) throw new Error("no container was registered");
  return only.inputs;
};

/** Secrets arrive wrapped. */
const plain = (input: unknown): unknown =>
  typeof input === "object" && input !== null && "value" in input ? input.value : input;
const uploaded = (inputs: Record<string, unknown>) =>
  Object.fromEntries(
    (plain(inputs.uploads) as { file: string; content: unknown; permissions: string }[]).map((upload) => [
      upload.file,
      { content: plain(upload.content), permissions: upload.permissions },
    ]),
  );

describe("the copy of the backups", () => {
  let made: Awaited<ReturnType<typeof copyOf>>;
  beforeAll(async () => {
    made = await copyOf("copy");
  });

  it("is a container with a network and a volume of its own, and nothing else", () => {
    expect(
      made.resources
        .filter(({ type }) => !type.startsWith("postgresql-environments:"))
        .map(({ inputs, name, type }) => [type.split(":").at(-1), name, plain(inputs.name)])
        .toSorted(),
    ).toEqual([
      ["Container", "copy-container", "shop-test-copy"],
      ["Network", "copy-network", "shop-test-copy-network"],
      ["RemoteImage", "copy-image", "rclone/rclone:1.75.0"],
      ["Volume", "copy-state", "shop-test-copy"],
    ]);
  });

  it("may read the repository and no more, and reaches no database", () => {
    const inputs = container(made.resources);
    expect(inputs).toMatchObject({
      capabilities: { drops: ["ALL"], adds: ["CAP_DAC_READ_SEARCH"] },
      securityOpts: ["no-new-privileges"],
      networksAdvanced: [{ name: "shop-test-copy-network" }],
      volumes: [
        { volumeName: "shop-test-backups", containerPath: "/repository", readOnly: true },
        { volumeName: "shop-test-copy", containerPath: "/state" },
      ],
    });
    expect(inputs).not.toHaveProperty("ports");
  });

  it("gets its secrets as files that root alone may read", () => {
    const inputs = container(made.resources);
    expect(uploaded(inputs)).toMatchObject({
      "/opt/postgresql-environment/copy/rclone.conf": {
        content: "[nas]\ntype = sftp\npass = storage-password\n",
        permissions: "0600",
      },
      "/opt/postgresql-environment/copy/key": { content: "generated-key", permissions: "0600" },
      "/opt/postgresql-environment/copy/copy": { permissions: "0755" },
    });
    expect(JSON.stringify([inputs.envs, inputs.command, inputs.labels])).not.toMatch(/password|key/);
  });

  it("comes up again with the host, with a limit of memory", () => {
    expect(container(made.resources)).toMatchObject({
      restart: "unless-stopped",
      memory: 512,
      memorySwap: 512,
      init: true,
    });
  });

  it("warns of the key that only the state has", async () => {
    expect(made.warnings).toHaveLength(1);
    expect(made.warnings[0]).toContain("pulumi stack output backupCopyKey --show-secrets --stack test");
    expect(made.warnings[0]).not.toContain("generated-key");
    expect((await copyOf("own-key", { key: "a key of the team's own" })).warnings).toEqual([]);
  });

  it("has no key where it is not encrypted", async () => {
    const { resources, warnings } = await copyOf("plain", { encryption: false });
    expect(Object.keys(uploaded(container(resources)))).not.toContain("/opt/postgresql-environment/copy/key");
    expect(container(resources).envs).toContain("COPY_ENCRYPTION=off");
    expect(warnings).toEqual([]);
  });
});
