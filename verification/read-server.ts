import type { Client } from "pg";
import type { AccessFile } from "./access-files.ts";
import type { FileEntry, Parameter, ServerSettings } from "./server-settings.ts";

/** From here on, the session can change nothing, and finds PostgreSQL's own objects only. */
export async function readOnly(client: Client): Promise<void> {
  await client.query("SET default_transaction_read_only TO on; SET search_path TO pg_catalog");
}

export async function readServerSettings(client: Client): Promise<ServerSettings> {
  const parameters = await client.query<Parameter>(
    `SELECT name, setting, coalesce(current_setting(name, true), '') AS shown, unit, vartype, source,
            boot_val AS "bootValue", pending_restart AS "pendingRestart"
       FROM pg_settings WHERE context <> 'internal'`,
  );
  const files = await client.query<FileEntry>(
    "SELECT name, setting AS value, sourcefile AS file, sourceline AS line, error FROM pg_file_settings",
  );
  return { parameters: parameters.rows, files: files.rows };
}

/** pg_hba.conf and pg_ident.conf as they are now. */
export async function readAccessFiles(client: Client): Promise<[hba: AccessFile, ident: AccessFile]> {
  const read = async (name: string, parameter: string): Promise<AccessFile> => {
    const { rows } = await client.query<Omit<AccessFile, "name">>(
      `SELECT pg_read_file(current_setting($1)) AS content,
              (pg_stat_file(current_setting($1))).modification > pg_conf_load_time() AS "newerThanLoaded"`,
      [parameter],
    );
    return { name, content: "", newerThanLoaded: false, ...rows[0] };
  };
  return [await read("pg_hba.conf", "hba_file"), await read("pg_ident.conf", "ident_file")];
}

/** What the server keeps of each role's password. */
export async function readVerifiers(client: Client): Promise<ReadonlyMap<string, string | null>> {
  const { rows } = await client.query<{ name: string; verifier: string | null }>(
    "SELECT rolname AS name, rolpassword AS verifier FROM pg_authid",
  );
  return new Map(rows.map(({ name, verifier }) => [name, verifier]));
}
