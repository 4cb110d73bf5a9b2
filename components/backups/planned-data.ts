import { spawn } from "node:child_process";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { generationLabel, projectLabel, restoredLabel, roleLabel, stackLabel } from "../labels.ts";
import { readOwnOutputs } from "../own-outputs.ts";
import type { Settings } from "../settings.ts";
import {
  type DataGeneration,
  dataVolumeName,
  decideGeneration,
  describeTarget,
  type Generation,
  type KnownGenerations,
} from "./data-generation.ts";

const outputs = z.object({
  lifetime: z.string().optional(),
  dataGeneration: z.number().nullish(),
  restored: z.string().nullish(),
  adopted: z.boolean().nullish(),
});

/** Milliseconds in which Docker must tell what it has, and a backup container what can be restored. */
const patience = 5_000;

/**
 * Which volume the data is in, and whether the update restores it first. In a preview, tells what that means.
 * An ephemeral environment has no volume.
 */
export async function planData(settings: Settings): Promise<DataGeneration> {
  if (settings.lifetime === "ephemeral") {
    return { generation: 0, restored: undefined, pending: false, adopt: false };
  }
  const prefix = `${pulumi.getProject()}-${pulumi.getStack()}`;
  const [recorded, inDocker] = await Promise.all([readOwnOutputs(), lookAtDocker(prefix)]);
  const { adopted, dataGeneration, lifetime, restored } = outputs.parse(recorded);
  const known: KnownGenerations = {
    isNew: lifetime === undefined,
    recorded: {
      generation: dataGeneration ?? 0,
      restored: restored ?? undefined,
      adopted: adopted ?? false,
    },
    ...inDocker,
  };
  const decided = decideGeneration(known, settings);
  if (decided.pending && pulumi.runtime.isDryRun()) {
    const before = known.isNew ? undefined : (inDocker.serving ?? known.recorded).generation;
    await tellRestore(settings, prefix, decided, before);
  }
  return decided;
}

async function lookAtDocker(prefix: string): Promise<Pick<KnownGenerations, "newest" | "serving">> {
  const filters = Object.entries({
    [projectLabel]: pulumi.getProject(),
    [stackLabel]: pulumi.getStack(),
    [roleLabel]: "data",
  }).flatMap(([label, value]) => ["--filter", `label=${label}=${value}`]);
  const labels = [generationLabel, restoredLabel].map((label) => `{{.Label "${label}"}}`);
  const [volumes, mounted] = await Promise.all([
    ask("docker", ["volume", "ls", ...filters, "--format", ["{{.Name}}", ...labels].join("\t")]),
    ask("docker", [
      ...["container", "inspect", `${prefix}-postgres`, "--format"],
      "{{range .Mounts}}{{.Name}}\n{{end}}",
    ]),
  ]);
  const generations = new Map(
    (volumes ?? "")
      .split("\n")
      .filter(Boolean)
      .map((line): [string, Generation] => {
        const [name = "", generation = "", restored = ""] = line.split("\t");
        return [name, { generation: Number(generation) || 0, restored: restored || undefined }];
      }),
  );
  const names = (mounted ?? "").split("\n");
  return {
    serving: names.map((name) => generations.get(name)).find((found) => found !== undefined),
    newest: [...generations.values()].toSorted((a, b) => b.generation - a.generation)[0],
  };
}

/** What a program prints; undefined where it is not there, fails or takes too long. */
function ask(command: string, args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"], timeout: patience });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    child.on("error", () => resolve(undefined));
    child.on("close", (code) => resolve(code === 0 ? text : undefined));
  });
}

/** @param before The generation that the server leaves; undefined: there is none yet. */
async function tellRestore(
  settings: Settings,
  prefix: string,
  { generation, restored = {} }: DataGeneration,
  before: number | undefined,
): Promise<void> {
  const lines = [`Restore: the data will be as of ${describeTarget(restored)}.`];
  const next = dataVolumeName(prefix, generation);
  if (before === undefined) {
    lines.push(`It is restored to a new volume, ${next}, with all roles; they get this stack's passwords.`);
  } else {
    const old = dataVolumeName(prefix, before);
    lines.push(
      `The server moves from volume ${old} to a new one, ${next}.`,
      restored.latest
        ? "The server is stopped first, so that the backup has everything; it is away until the restore has ended."
        : "Whatever was written after that moment will not be there. The server runs on until the restore has succeeded; what is written meanwhile will not be there either.",
      `Volume ${old} is kept, with everything in it, until you remove it: docker volume rm ${old}`,
    );
  }
  if (settings.migrationsTarget === undefined) {
    lines.push(
      "Migrations that the restored data does not have are applied again, up to the newest; the setting migrationsTarget keeps them out.",
    );
  }
  lines.push(...(await readWindow(prefix, restored)));
  void pulumi.log.warn(lines.join("\n"));
}

/** What the backup has, as far as a running container tells. */
async function readWindow(
  prefix: string,
  { from }: NonNullable<DataGeneration["restored"]> | Record<string, never>,
): Promise<string[]> {
  if (from === "copy") return [];
  const container = from ? `${pulumi.getProject()}-${from.stack}-backup` : `${prefix}-backup`;
  const program = "/opt/postgresql-environment/backup/pgbackup";
  const text = await ask("docker", ["exec", container, program, "list"]);
  if (text === undefined) {
    return [
      `What the backup has could not be asked from here (container ${container}); the update checks it first.`,
    ];
  }
  return [
    "The backup has:",
    ...text
      .trimEnd()
      .split("\n")
      .map((line) => `  ${line}`),
  ];
}
