import { pairOf } from "../../components/credentials/rotation.ts";
import { rotatedKeys } from "../../components/settings/schema.ts";
import type { RotatedKey } from "../../components/settings.ts";
import { exitCode, UserError } from "../errors.ts";
import { formatSessions, readSessions } from "../login-sessions.ts";
import { type PulumiCommand, pulumiCommand, pulumiError, readOutputs } from "../pulumi.ts";
import type { StackOutputs } from "../stack-outputs.ts";
import { readStateBackend } from "../state-backend.ts";
import { toolchainVariables } from "../toolchain.ts";

export interface RotateOptions {
  readonly role?: Exclude<RotatedKey, "authority">;
  readonly authority?: true;
  readonly finish?: true;
  readonly force?: true;
  readonly yes?: true;
}

/** What the stack's file says of rotations. */
interface RotationSettings {
  readonly generations: Readonly<Partial<Record<RotatedKey, number>>>;
  readonly overlap: readonly string[];
  readonly ownSuperuserPassword: boolean;
}

/** Makes another password or authority the current one: counts it up in the stack's file, and runs `pulumi up`. */
export async function rotate(stack: string, options: RotateOptions): Promise<void> {
  const key = options.authority ? "authority" : options.role;
  if (key === undefined || (options.authority && options.role !== undefined)) {
    throw new UserError("either --role or --authority must be given.", {
      next: `Roles: ${rotatedKeys.filter((each) => each !== "authority").join(", ")}.`,
      exitCode: exitCode.usage,
    });
  }
  const pulumi = await pulumiCommand(stack, await toolchainVariables());
  const outputs = await readOutputs(stack, pulumi);
  if (outputs.lifetime === "ephemeral") {
    throw new UserError(`stack ${stack} is thrown away anyway; nothing of it is rotated.`, {
      next: `New passwords: pulumi destroy -s ${stack} && pulumi up -s ${stack}`,
    });
  }
  const settings = await readRotation(stack, pulumi);
  if (options.finish) await finish(stack, key, { pulumi, outputs, settings, options });
  else await begin(stack, key, { pulumi, settings, options });
}

interface Context {
  readonly pulumi: PulumiCommand;
  readonly settings: RotationSettings;
  readonly options: RotateOptions;
}

async function begin(stack: string, key: RotatedKey, { options, pulumi, settings }: Context): Promise<void> {
  if (key === "superuser" && settings.ownSuperuserPassword) {
    throw new UserError("the superuser's password is the setting superuserPassword.", {
      next: `Choose another: pulumi config set --secret superuserPassword -s ${stack} && pulumi up -s ${stack}`,
    });
  }
  const overlaps = key === "app" || key === "authority";
  if (overlaps && settings.overlap.includes(key) && !options.force) {
    throw new UserError(
      `the last rotation of ${key} is not finished: whoever still uses what was before it would fail.`,
      {
        next: `Finish it: ./db rotate ${stack} ${flagOf(key)} --finish; or repeat this with --force.`,
      },
    );
  }
  const generation = (settings.generations[key] ?? 1) + 1;
  await pulumi.attach(["config", "set", "--path", `rotation.${key}`, String(generation)]);
  if (overlaps && !settings.overlap.includes(key)) {
    const index = settings.overlap.length;
    await pulumi.attach(["config", "set", "--path", `rotationOverlap[${index}]`, key]);
  }
  await up(pulumi, options);
  await report(stack, key, await readOutputs(stack, pulumi));
}

/** What the next step is. */
async function report(stack: string, key: RotatedKey, outputs: StackOutputs): Promise<void> {
  const say = (text: string) => process.stdout.write(`${text}\n`);
  if (key === "authority") {
    say(
      `The server's certificate is of a new authority. Clients that know only the old one still take it.\nGive them the new one (./db env ${stack}), then: ./db rotate ${stack} --authority --finish`,
    );
    return;
  }
  if (key !== "app") {
    say(`${key} has a new password; sessions that are open go on.`);
    return;
  }
  const sessions = await readSessions(outputs, previousLogin(outputs));
  say(
    [
      `The application's login is ${outputs.connections.app.username} from now on; ${sessions.login} may still log in.`,
      formatSessions(sessions),
      `Give the application its new settings (./db env ${stack}), then: ./db rotate ${stack} --role app --finish`,
    ].join("\n"),
  );
}

async function finish(
  stack: string,
  key: RotatedKey,
  { options, outputs, pulumi, settings }: Context & { readonly outputs: StackOutputs },
): Promise<void> {
  const index = settings.overlap.indexOf(key);
  if (index < 0) {
    throw new UserError(`${key} has no rotation that is under way.`, {
      next: `Begin one: ./db rotate ${stack} ${flagOf(key)}`,
    });
  }
  const sessions = key === "app" ? await readSessions(outputs, previousLogin(outputs)) : undefined;
  if (sessions && sessions.groups.length > 0 && !options.force) {
    throw new UserError(`${sessions.login} is still in use.\n${formatSessions(sessions)}`, {
      next: `Give these their new settings (./db env ${stack}), or repeat this with --force: their sessions go on, and new ones are refused.`,
    });
  }
  await pulumi.attach(["config", "rm", "--path", `rotationOverlap[${index}]`]);
  await up(pulumi, options);
  process.stdout.write(
    sessions
      ? `${sessions.login} is locked.\n`
      : "Clients that know only the old authority no longer take the server's certificate.\n",
  );
}

async function up(pulumi: PulumiCommand, { yes }: RotateOptions): Promise<void> {
  await pulumi.attach(["up", ...(yes ? ["--yes", "--skip-preview"] : [])]);
}

/** The other one of the application's pair. */
function previousLogin(outputs: StackOutputs): string {
  const { username } = outputs.connections.app;
  const ending = { appA: "_a", appB: "_b" };
  const { other } = pairOf(outputs.rotation?.app?.generation ?? 1);
  return username.replace(/_[ab]$/, ending[other]);
}

async function readRotation(stack: string, pulumi: PulumiCommand): Promise<RotationSettings> {
  const { code, stderr, stdout } = await pulumi.capture(["config", "--json"]);
  if (code !== 0) throw pulumiError(stack, stderr);
  const { project } = await readStateBackend();
  const config = JSON.parse(stdout) as Record<string, { value?: string; objectValue?: unknown }>;
  const read = (key: string) => config[`${project}:${key}`];
  return {
    generations: (read("rotation")?.objectValue ?? {}) as RotationSettings["generations"],
    overlap: (read("rotationOverlap")?.objectValue ?? []) as string[],
    ownSuperuserPassword: read("superuserPassword") !== undefined,
  };
}

function flagOf(key: RotatedKey): string {
  return key === "authority" ? "--authority" : `--role ${key}`;
}
