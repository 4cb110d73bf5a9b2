import type { Client } from "pg";
import { hashInputs } from "../reset/inputs.ts";
import { parseMark } from "../reset/mark.ts";
import type { FoundDatabase } from "../reset/properties.ts";
import { findTemplate } from "../reset/test-databases.ts";
import { exitCode, UserError } from "./errors.ts";
import { projectRoot } from "./project.ts";

/** @throws UserError where there is no template, or one of other files than there are now. */
export async function currentTemplate(client: Client, stack: string): Promise<FoundDatabase> {
  const template = await findTemplate(client);
  const mark = parseMark(template?.comment);
  if (!template || !mark) {
    throw new UserError(`stack ${stack} has no template to clone.`, {
      next: `pulumi up -s ${stack}`,
      exitCode: exitCode.missing,
    });
  }
  if (hashInputs(projectRoot, mark.inputs) !== mark.inputsHash) {
    throw new UserError(
      `migrations, seed data or settings of stack ${stack} have changed since its template was made.`,
      { next: `./db reset ${stack}` },
    );
  }
  return template;
}
