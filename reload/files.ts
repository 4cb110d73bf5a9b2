import { z } from "zod";
import { fileNames } from "../components/server/files.ts";

/** What the server is to have, as it comes on standard input. */
export interface Configuration {
  readonly parameters: Readonly<Record<string, string>>;
  /** Lines of pg_hba.conf. */
  readonly accessRules: readonly string[];
  /** Lines of pg_ident.conf. */
  readonly userNameMap: readonly string[];
  /** PEM; undefined: no TLS. */
  readonly certificate?: string | undefined;
}

const configuration = z.strictObject({
  parameters: z.record(z.string(), z.string()),
  accessRules: z.array(z.string()),
  userNameMap: z.array(z.string()),
  certificate: z.string().optional(),
});

export function parseConfiguration(text: string): Configuration {
  return configuration.parse(JSON.parse(text));
}

/**
 * The server's files by name.
 * @param dataDirectory initdb has left a postgresql.conf there, with the locale and the time zone
 */
export function filesOf(
  { accessRules, certificate, parameters, userNameMap }: Configuration,
  key: string | undefined,
  dataDirectory: string,
): Record<string, string> {
  return {
    [fileNames.configuration]: [
      "# Made by the program; changes here are lost.",
      `include_if_exists ${quote(`${dataDirectory}/postgresql.conf`)}`,
      ...Object.entries(parameters).map(([name, value]) => `${name} = ${quote(value)}`),
      "",
    ].join("\n"),
    [fileNames.hba]: `${accessRules.join("\n")}\n`,
    [fileNames.ident]: `${userNameMap.join("\n")}\n`,
    ...(certificate === undefined ? {} : { [fileNames.certificate]: certificate }),
    ...(key === undefined ? {} : { [fileNames.key]: key }),
  };
}

/** A value in postgresql.conf (guc-file.l, GUC_scanstr): a backslash is an escape there too. */
function quote(value: string): string {
  return `'${value.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}
