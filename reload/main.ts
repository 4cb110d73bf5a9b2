/**
 * Brings settings, access rules, certificate and passwords into a running server, without a restart; run by the program's
 * command resource whenever one of them has changed, and for each new container.
 *
 * Standard input: what the server is to have, as JSON (`Configuration`). Environment: CONTAINER, CONFIGURATION_FOLDER and
 * DATA_DIRECTORY (in the container), SUPERUSER, PASSWORD_VERIFIERS (JSON, by role name), HOST and PORT by which
 * the server is reached from here, SERVER_KEY (PEM; only with a certificate).
 * Exit codes: 0 the server has it all, 1 it doesn't.
 */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { ConfigurationFolder, ReloadError, ServerSocket } from "./container.ts";
import { type Configuration, filesOf, parseConfiguration } from "./files.ts";
import { judge, type Parameter, type Problem, reportChanges } from "./outcome.ts";
import { servedFingerprint } from "./served-certificate.ts";

const { escapeIdentifier, escapeLiteral } = pg;
const pollMilliseconds = 50;
const patienceMilliseconds = 30_000;

async function reload(): Promise<void> {
  const container = required("CONTAINER");
  const server = new ServerSocket(container, required("SUPERUSER"));
  const folder = new ConfigurationFolder(container, required("CONFIGURATION_FOLDER"));
  const wanted = parseConfiguration(readFileSync(0, "utf8"));
  const names = Object.keys(wanted.parameters);

  const name = new Date().toISOString().replaceAll(/\D/g, "");
  const before = folder.put(name, filesOf(wanted, process.env.SERVER_KEY, required("DATA_DIRECTORY")));
  try {
    // These views read the files as they are now, which the server itself has not done yet.
    const problems = server.rows<Problem>(findProblems);
    if (problems.length > 0) throw new ReloadError(refusal(server, wanted, problems));
  } catch (error) {
    folder.makeCurrent(before);
    folder.removeAllBut(before);
    throw error;
  }

  setPasswords(server, JSON.parse(required("PASSWORD_VERIFIERS")));
  const old = parametersOf(server, names);
  for (const line of takeBack(server, names)) console.log(line);
  const [loaded] = server.rows<{ at: string }>("SELECT pg_conf_load_time() AS at, pg_reload_conf()");
  const now = await reloaded(server, loaded?.at ?? "", names);
  const failures = judge(now);
  if (failures.length > 0) {
    throw new ReloadError(
      [
        "The server has read its configuration, but does not follow it:",
        ...failures.map((line) => `  - ${line}`),
        `Its log says more: docker logs ${container}`,
      ].join("\n"),
    );
  }
  await checkCertificate(wanted, container);
  folder.removeAllBut(name);
  for (const line of reportChanges(old, now)) console.log(line);
  console.log("the running server has its configuration; no restart");
}

/**
 * What takes a restart is none of them: somebody's ALTER SYSTEM, which is taken back next, or which is not the program's
 * business. Nor is an alarm of rules without TLS: the server is just about to get its certificate.
 */
const findProblems = `
  SELECT sourcefile AS file, sourceline AS line, name, error FROM pg_catalog.pg_file_settings f WHERE error IS NOT NULL
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_settings s WHERE s.name = f.name AND s.context = 'postmaster')
  UNION ALL
  SELECT 'pg_hba.conf', line_number, NULL, error FROM pg_catalog.pg_hba_file_rules
   WHERE error IS NOT NULL AND error !~ 'record cannot match because SSL is disabled'
  UNION ALL
  SELECT 'pg_ident.conf', line_number, NULL, error FROM pg_catalog.pg_ident_file_mappings WHERE error IS NOT NULL`;

function refusal(server: ServerSocket, wanted: Configuration, problems: readonly Problem[]): string {
  const lines = problems.map(({ error, file, line, name }) => {
    const value = name === null ? undefined : wanted.parameters[name];
    if (name === null || value === undefined) return `${file}, line ${line}: ${error}`;
    return `serverSettings: ${name} = ${JSON.stringify(value)}: ${reasonOf(server, name, value) ?? error}`;
  });
  return [
    "The server refuses its new configuration; it goes on with the old one, nothing was changed:",
    ...lines.map((line) => `  - ${line}`),
    "Correct it in the stack's settings and run pulumi up again.",
  ].join("\n");
}

/** The views don't say why. */
function reasonOf(server: ServerSocket, name: string, value: string): string | undefined {
  try {
    server.run(`SELECT set_config(${escapeLiteral(name)}, ${escapeLiteral(value)}, true);`);
    return undefined;
  } catch (error) {
    const message = /^ERROR: +(.*)$/m.exec((error as Error).message)?.[1];
    return message === undefined || /cannot be (changed|set)|permission denied/.test(message)
      ? undefined
      : message;
  }
}

/** Verifiers, not passwords; nothing of it is logged all the same. */
function setPasswords(server: ServerSocket, verifiers: Readonly<Record<string, string>>): void {
  const roles = Object.entries(verifiers).map(([role, verifier]) => {
    const statement = `ALTER ROLE ${escapeIdentifier(role)} PASSWORD ${escapeLiteral(verifier)}`;
    return `SELECT ${escapeLiteral(statement)} FROM pg_catalog.pg_authid
      WHERE rolname = ${escapeLiteral(role)} AND rolpassword IS DISTINCT FROM ${escapeLiteral(verifier)} \\gexec`;
  });
  const quiet =
    "SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic';";
  server.run([quiet, ...roles, ""].join("\n"));
}

/** What somebody has set by ALTER SYSTEM would win over the files. */
function takeBack(server: ServerSocket, names: readonly string[]): string[] {
  const set = server.rows<{ name: string; setting: string }>(
    `SELECT name, setting FROM pg_catalog.pg_file_settings
      WHERE sourcefile LIKE '%/postgresql.auto.conf' AND ${among(names)}`,
  );
  if (set.length > 0) {
    server.run(set.map(({ name }) => `ALTER SYSTEM RESET ${escapeIdentifier(name)};`).join("\n"));
  }
  return set.map(({ name, setting }) => `${name}: took back ALTER SYSTEM SET ${name} = '${setting}'`);
}

function among(names: readonly string[]): string {
  return `name IN (${names.map(escapeLiteral).join(", ")})`;
}

function parametersOf(server: ServerSocket, names: readonly string[]): Parameter[] {
  return server.rows<Parameter>(
    `SELECT name, current_setting(name, true) AS value, source, sourcefile, pending_restart
       FROM pg_catalog.pg_settings WHERE ${among(names)} ORDER BY name`,
  );
}

/** The parameters as a new session finds them, once the server has read its files. */
async function reloaded(
  server: ServerSocket,
  before: string,
  names: readonly string[],
): Promise<Parameter[]> {
  for (const end = Date.now() + patienceMilliseconds; Date.now() < end; await sleep(pollMilliseconds)) {
    const [later] = server.rows<{ done: boolean }>(
      `SELECT pg_conf_load_time() > ${escapeLiteral(before)}::timestamptz AS done`,
    );
    if (later?.done) return parametersOf(server, names);
  }
  throw new ReloadError(
    `The server did not read its configuration within ${patienceMilliseconds / 1000} s. See whether it is overloaded, and run pulumi up again.`,
  );
}

async function checkCertificate({ certificate }: Configuration, container: string): Promise<void> {
  if (certificate === undefined) return;
  const wanted = new X509Certificate(certificate);
  const host = required("HOST");
  const port = Number(required("PORT"));
  const served = await servedFingerprint(host, port);
  if (served !== wanted.fingerprint256) {
    throw new ReloadError(
      [
        `The server at ${host}:${port} ${served === undefined ? "offers no TLS" : "still shows another certificate"} after it was given its own.`,
        `Its log says why: docker logs ${container}`,
      ].join("\n"),
    );
  }
  console.log(`certificate of the server: valid until ${wanted.validTo}`);
}

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new ReloadError(`${name} must be set in the environment.`);
  return value;
}

try {
  await reload();
} catch (error) {
  if (!(error instanceof ReloadError)) throw error;
  console.error(error.message);
  process.exit(1);
}
