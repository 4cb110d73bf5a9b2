import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { compileCache } from "../compile-cache.ts";
import type { Settings } from "../settings.ts";
import { hostBasedAuthentication, identityMap } from "./access-rules.ts";
import { dataPaths } from "./files.ts";
import { configurationFolder, serverParameters } from "./server-settings.ts";

export interface ServerConfigurationArgs {
  readonly settings: Settings;
  readonly containerName: pulumi.Output<string>;
  readonly containerId: pulumi.Output<string>;
  /** Server certificate and key, PEM; undefined: no TLS. */
  readonly certificate: { certificate: pulumi.Output<string>; key: pulumi.Output<string> } | undefined;
  /** By role name, what the server keeps in a password's place; roles that don't exist are left out. */
  readonly verifiers: Readonly<Record<string, pulumi.Output<string>>>;
}

/**
 * Brings into the running server of a persistent environment what it can take without a restart: parameters, access
 * rules, certificate, the superuser's password. Runs again whenever one of them or the container changes.
 */
export function serverConfiguration(
  name: string,
  args: ServerConfigurationArgs,
  options: pulumi.CustomResourceOptions,
): command.local.Command {
  const { settings, certificate } = args;
  const { dataDirectory } = dataPaths(settings.majorVersion);
  return new command.local.Command(
    name,
    {
      // An update runs `create` too. Not a replacement (`triggers`): protection would refuse that.
      create: "node reload/main.ts",
      environment: {
        ...compileCache,
        CONTAINER: args.containerName,
        // Not read: a new container has a new id, and only a changed input makes the command run again.
        CONTAINER_ID: args.containerId,
        CONFIGURATION_FOLDER: configurationFolder(settings) ?? "",
        DATA_DIRECTORY: dataDirectory,
        SUPERUSER: settings.superuserName,
        HOST: settings.host,
        PORT: String(settings.port ?? ""),
        PASSWORD_VERIFIERS: pulumi.jsonStringify(args.verifiers),
        ...(certificate ? { SERVER_KEY: certificate.key } : {}),
      },
      // Not in the environment, which preview hides as a whole for the secrets in it: `preview --diff` shows this.
      stdin: pulumi.output(certificate?.certificate).apply((pem) =>
        JSON.stringify({
          parameters: reloadedParameters(settings),
          accessRules: lines(hostBasedAuthentication(settings)),
          userNameMap: lines(identityMap(settings.superuserName)),
          ...(pem === undefined ? {} : { certificate: pem }),
        }),
      ),
    },
    options,
  );
}

/**
 * All parameters, also those that are on the server's command line, which wins: initdb's file, which ours includes, has
 * other values for some of these, and the server would take that for a change that waits for a restart.
 */
function reloadedParameters(settings: Settings): Record<string, string> {
  const { hba_file: _hba, ident_file: _ident, ...parameters } = serverParameters(settings);
  return Object.fromEntries(Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function lines(text: string): string[] {
  return text.trimEnd().split("\n");
}

/** postgresql.conf of a server that has not got its own yet. */
export function firstConfiguration(settings: Settings): string {
  const { dataDirectory } = dataPaths(settings.majorVersion);
  return `include_if_exists '${dataDirectory}/postgresql.conf'\nssl = off\n`;
}
