import { randomBytes } from "node:crypto";
import { ask, BackupError, docker } from "../../backup/docker.ts";
import { projectLabel, roleLabel, stackLabel } from "../../components/labels.ts";
import { majorVersionOfImage, supportedMajorVersions } from "../../components/settings/image.ts";
import { toMebibytes } from "../../components/settings/units.ts";
import { formatTransfer } from "../../upgrade/report.ts";
import { isGood, type Target, transfer } from "../../upgrade/transfer.ts";
import { exitCode, UserError } from "../errors.ts";
import { pulumiCommand, readOutputs } from "../pulumi.ts";
import { consoleReporter } from "../steps.ts";
import { prepareImage, readSettingsOf, removedAtTheEnd } from "../throwaway-server.ts";
import { toolchainVariables } from "../toolchain.ts";

export interface RehearseUpgradeOptions {
  readonly image: string;
  readonly json?: true;
}

/** Loads a stack's data into a throwaway server of another major version, and says what came of it. */
export async function rehearseUpgrade(stack: string, options: RehearseUpgradeOptions): Promise<void> {
  const reporter = consoleReporter();
  const { project, settings } = await readSettingsOf(stack, "./db upgrade rehearse STACK");
  const majorVersion = supportedMajorVersions.find((each) => each === majorVersionOfImage(options.image));
  if (majorVersion === undefined || majorVersion < settings.majorVersion) {
    throw new UserError(
      `${options.image} is no image of PostgreSQL ${settings.majorVersion} or later, as far as its tag tells.`,
      { next: "Name one, as in --image postgres:17-trixie", exitCode: exitCode.usage },
    );
  }
  const outputs = await readOutputs(stack, await pulumiCommand(stack, await toolchainVariables()));
  await prepareImage(reporter, options.image);
  const { superuser } = outputs.connections;
  const { ca } = outputs.tls;
  const name = `${project}-${stack}-upgrade-${randomBytes(3).toString("hex")}`;
  const labels = { ...settings.labels, [projectLabel]: project, [stackLabel]: stack, [roleLabel]: "upgrade" };
  const target: Target = {
    container: name,
    image: options.image,
    majorVersion,
    volume: name,
    networkName: outputs.networkName,
    labels,
    memory: toMebibytes(settings.memory),
  };
  const labelFlags = Object.entries(labels).flatMap(([key, value]) => ["--label", `${key}=${value}`]);
  try {
    await ask(["volume", "create", ...labelFlags, name]);
    const report = await removedAtTheEnd({ container: name, what: "the rehearsal of the upgrade" }, () =>
      transfer(
        {
          connection: {
            host: superuser.host.host,
            port: superuser.host.port,
            user: superuser.username,
            password: superuser.password,
            database: superuser.database,
            sslMode: ca === undefined ? "disable" : "verify-full",
            sslRootCert: ca,
            applicationName: "db upgrade",
          },
          network: { ...superuser.network, sslMode: outputs.tls.mode },
        },
        target,
        (text) => reporter.note(text),
      ),
    );
    const text = options.json ? JSON.stringify(report, null, 2) : formatTransfer(report);
    process.stdout.write(`${text}\n`);
    if (!isGood(report)) process.exitCode = exitCode.failure;
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    const [first = "", ...rest] = error.message.split("\n");
    throw new UserError(first, {
      next: rest.join("\n") || `Environment ${stack} was only read.`,
      cause: error,
    });
  } finally {
    await docker(["volume", "rm", "--force", name]);
  }
}
