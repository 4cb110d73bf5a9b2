import { spawn } from "node:child_process";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { generationLabel, projectLabel, restoredLabel, roleLabel, stackLabel } from "../labels.ts";
import { previousOutputs } from "../previous-outputs.ts";
import type { Settings } from "../settings.ts";
import {
  asTaken,
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
  const [recorded, inDocker] = await Promise.all([previousOutputs(), lookAtDocker(prefix)]);
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
  const { dataGeneration: wanted, majorVersion, upgradeFrom } = settings;
  if (wanted !== undefined) return goTo(wanted, prefix, known, inDocker.generations);
  if (upgradeFrom !== undefined && known.isNew) {
    throw new pulumi.RunError(
      "upgradeFrom: the stack has no data yet that could be upgraded. Fix: pulumi config rm upgradeFrom",
    );
  }
  const upgrade = upgradeFrom === undefined ? undefined : { from: upgradeFrom, to: majorVersion };
  const decided = decideGeneration(known, { ...settings, upgrade });
  if (decided.pending && decided.upgraded) {
    if (pulumi.runtime.isDryRun())
      tellUpgrade(prefix, decided, (inDocker.serving ?? known.recorded).generation);
    return decided;
  }
  if (decided.pending && pulumi.runtime.isDryRun()) {
    const before = known.isNew ? undefined : (inDocker.serving ?? known.recorded).generation;
    await tellRestore(settings, prefix, decided, before);
  }
  return decided;
}

/**
 * The server is on one of its volumes, whichever was newest.
 *
 * @param generations Undefined: Docker can't be asked.
 */
function goTo(
  wanted: number,
  prefix: string,
  { recorded }: KnownGenerations,
  generations: readonly Generation[] | undefined,
): DataGeneration {
  const volume = dataVolumeName(prefix, wanted);
  const found = generations?.find(({ generation }) => generation === wanted);
  if (generations !== undefined && found === undefined) {
    const there = generations.map(({ generation }) => generation).toSorted((a, b) => a - b);
    throw new pulumi.RunError(
      `dataGeneration: there is no volume ${volume}; the stack has the generations ${there.join(", ")}. Fix: name one of them, or run: pulumi config rm dataGeneration`,
    );
  }
  if (wanted !== recorded.generation && pulumi.runtime.isDryRun()) {
    void pulumi.log.warn(
      `The server moves from volume ${dataVolumeName(prefix, recorded.generation)} to ${volume}, with the data that it was left with. What was written since is not there; its volume is kept.`,
    );
  }
  return asTaken(found ?? { generation: wanted, restored: undefined });
}

function tellUpgrade(prefix: string, { generation, upgraded }: DataGeneration, before: number): void {
  const [old, next] = [dataVolumeName(prefix, before), dataVolumeName(prefix, generation)];
  void pulumi.log.warn(
    [
      `Upgrade: the data comes from PostgreSQL ${upgraded?.from} to ${upgraded?.to} by dump and restore, and the server moves from volume ${old} to a new one, ${next}.`,
      "The server is stopped first, and is away until all is loaded and compared. How long that takes, and whether it works: ./db upgrade rehearse",
      `Volume ${old} is kept, with everything in it, until you remove it: docker volume rm ${old}`,
      "Backups from before are put aside in their repository; a new full one is taken at once.",
    ].join("\n"),
  );
}

async function lookAtDocker(
  prefix: string,
): Promise<
  Pick<KnownGenerations, "newest" | "serving"> & { readonly generations: readonly Generation[] | undefined }
> {
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
    generations: volumes === undefined ? undefined : [...generations.values()],
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
