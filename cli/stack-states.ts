import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { readStateFile, stackOfStateFile } from "./cut-off-state.ts";
import { UserError } from "./errors.ts";
import { capture } from "./processes.ts";
import { projectRoot } from "./project.ts";
import type { StateBackend } from "./state-backend.ts";
import { toolchainVariables } from "./toolchain.ts";

/** What the state backend tells of a stack without its passphrase. */
export interface StackState {
  readonly stack: string;
  readonly resources: number;
  /** When the last command ended that changed it; undefined: none did. */
  readonly updated: Date | undefined;
  /** Ids of all resources. Undefined: the backend does not tell. */
  readonly ids: ReadonlySet<string> | undefined;
  /** The output of this name, where it is told. */
  readonly lifetime: string | undefined;
}

const checkpoint = z.object({
  checkpoint: z.object({
    latest: z
      .object({
        manifest: z.object({ time: z.string() }).optional(),
        resources: z
          .array(
            z.object({
              type: z.string(),
              id: z.string().optional(),
              outputs: z.record(z.string(), z.unknown()).optional(),
            }),
          )
          .default([]),
      })
      .nullish(),
  }),
});

/** @param text A checkpoint as Pulumi's file backend keeps it. Undefined for one that is cut off or of another kind. */
export function parseCheckpoint(stack: string, text: string): StackState | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = checkpoint.safeParse(value);
  if (!parsed.success) return undefined;
  const latest = parsed.data.checkpoint.latest;
  const resources = latest?.resources ?? [];
  const outputs = resources.find(({ type }) => type === "pulumi:pulumi:Stack")?.outputs;
  // Pulumi writes year 1 for «never».
  const updated = new Date(latest?.manifest?.time ?? 0);
  return {
    stack,
    resources: resources.length,
    updated: updated.getTime() > 0 ? updated : undefined,
    ids: new Set(resources.flatMap(({ id }) => id ?? [])),
    lifetime: typeof outputs?.lifetime === "string" ? outputs.lifetime : undefined,
  };
}

const listed = z.array(
  z.object({
    name: z.string(),
    lastUpdate: z.string().optional(),
    resourceCount: z.int().optional(),
  }),
);

/** @param json What `pulumi stack ls --json` printed. */
export function parseStackList(json: string): StackState[] {
  return listed.parse(JSON.parse(json)).map(({ name, lastUpdate, resourceCount }) => ({
    // Pulumi Cloud puts the organization in front.
    stack: name.slice(name.lastIndexOf("/") + 1),
    resources: resourceCount ?? 0,
    updated: lastUpdate === undefined ? undefined : new Date(lastUpdate),
    ids: undefined,
    lifetime: undefined,
  }));
}

/** Every stack of the project. Files are read as they are, which takes no second and no passphrase; others say it by Pulumi. */
export async function readStackStates(backend: StateBackend): Promise<StackState[]> {
  if (backend.folder !== undefined) return await readCheckpoints(backend.folder, backend.project);
  const env = { ...process.env, ...(await toolchainVariables()) };
  const { code, stdout, stderr } = await capture("pulumi", ["stack", "ls", "--json", "--non-interactive"], {
    env,
    cwd: projectRoot,
  });
  if (code !== 0) {
    throw new UserError(`pulumi stack ls failed: ${stderr.trim().replace(/^error: /, "")}`, {
      next: "./db doctor says what is missing.",
    });
  }
  return parseStackList(stdout);
}

async function readCheckpoints(folder: string, project: string): Promise<StackState[]> {
  const stacks = join(folder, ".pulumi", "stacks", project);
  const names = await readdir(stacks).catch(() => []);
  const states = names.map(async (name) => {
    // Beside them are older ones (.bak) and the storage library's own (.attrs).
    const stack = stackOfStateFile(name);
    if (stack === undefined) return undefined;
    const text = await readStateFile(join(stacks, name));
    if (text === undefined) return undefined;
    // One that breaks off tells nothing of what it has: not that it has nothing.
    return parseCheckpoint(stack, text) ?? untold(stack);
  });
  return (await Promise.all(states)).filter((state) => state !== undefined);
}

function untold(stack: string): StackState {
  return { stack, resources: 0, updated: undefined, ids: undefined, lifetime: undefined };
}
