import { hashInputs } from "../../reset/inputs.ts";
import { parseMark, type TemplateMark } from "../../reset/mark.ts";
import { ownDatabases } from "../../reset/names.ts";
import type { DatabaseProperties } from "../../reset/properties.ts";
import { type Found, findDatabases, lockAndFind, replaceDatabase } from "../../reset/server.ts";
import { exitCode, UserError } from "../errors.ts";
import { projectRoot } from "../project.ts";
import type { Rebuild } from "../rebuild.ts";
import { openServer } from "../server-access.ts";

export interface ResetOptions {
  readonly json?: true;
}

/** What was done. */
interface ResetReport {
  readonly stack: string;
  readonly database: string;
  /** `kept`: the one that was there; `built`: made anew, from changed files. */
  readonly template: "kept" | "built";
  readonly migrations: number;
  readonly seedFiles: number;
  /** Sessions in the old database that were ended. */
  readonly endedSessions: number;
  /** Whether `pulumi up` had to run, so that Pulumi's state knows of what changed. */
  readonly pulumi: boolean;
  /** Since the start of the process. */
  readonly milliseconds: number;
}

const { base, ready } = ownDatabases;

export async function reset(stack: string, options: ResetOptions): Promise<void> {
  const { client, connections } = await openServer(stack);
  const { database } = connections.app;
  let rebuild: Rebuild | undefined;
  let built = false;
  let mark: TemplateMark;
  let endedSessions: number;
  try {
    let found = await lockAndFind(client, database);
    mark = usableMark(stack, found);
    if (!mark.recorded || hashInputs(projectRoot, mark.inputs) !== mark.inputsHash) {
      // Loaded only here: it needs much that the usual case does not.
      rebuild = await (await import("../rebuild.ts")).Rebuild.prepare(stack, connections);
      built = await rebuild.template(client, found, propertiesOf(found, database, mark));
      found = await findDatabases(client, database);
      mark = usableMark(stack, found);
    }
    endedSessions = await replaceDatabase(client, found, {
      database,
      template: ready,
      properties: propertiesOf(found, database, mark),
    });
  } finally {
    await client.end().catch(() => {});
  }
  await rebuild?.record();
  print(options, {
    stack,
    database,
    template: built ? "built" : "kept",
    migrations: mark.migrations.length,
    seedFiles: mark.seeds.length,
    endedSessions,
    pulumi: rebuild !== undefined,
    milliseconds: Math.round(performance.now()),
  });
}

/** @throws UserError where there is nothing to reset from. */
function usableMark(stack: string, found: Found): TemplateMark {
  const mark = parseMark(found.get(ready)?.comment);
  if (mark) return mark;
  const next = found.has(base)
    ? `The last «pulumi up» failed in a migration or in the seed data: mend it, then pulumi up -s ${stack}`
    : `An earlier version of the program made it: pulumi destroy -s ${stack}, then pulumi up -s ${stack}`;
  throw new UserError(`stack ${stack} has no template to reset from.`, { next, exitCode: exitCode.missing });
}

/** What belongs to the old database, such as its privileges, is the new one's too; the template has it, where it is gone. */
function propertiesOf(found: Found, database: string, mark: TemplateMark): DatabaseProperties {
  const application = found.get(database);
  if (application) return application;
  const template = found.get(ready);
  if (!template) throw new Error(`there is no database ${ready}`);
  return { ...template, comment: mark.comment };
}

function print(options: ResetOptions, report: ResetReport): void {
  if (options.json) {
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return;
  }
  const { database, endedSessions, migrations, milliseconds, pulumi, seedFiles, stack, template } = report;
  const contents = [
    counted(migrations, "migration"),
    ...(seedFiles > 0 ? [counted(seedFiles, "file of seed data", "files of seed data")] : []),
    ...(template === "built" ? ["from a new template"] : []),
    ...(pulumi ? ["pulumi up done"] : []),
    ...(endedSessions > 0 ? [`${counted(endedSessions, "session")} ended`] : []),
  ];
  process.stdout.write(
    `${stack}: database ${database} is as new: ${contents.join(", ")} (${(milliseconds / 1000).toFixed(2)} s)\n`,
  );
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
