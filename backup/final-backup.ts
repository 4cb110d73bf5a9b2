/**
 * Takes a last backup; run by the program's command resource when the environment is destroyed, before anything else
 * goes. A failure stops the destruction.
 *
 * Environment: CONTAINER (name), STACK, FINAL_BACKUP (on or off), COPY_CONTAINER (name; only with a copy off the host).
 */
import { copyCommand } from "../components/backups/copy-environment.ts";
import { programCommand } from "../components/backups/program.ts";
import { BackupError, docker, runProgram, variable } from "./docker.ts";

await runProgram(async () => {
  const container = variable("CONTAINER");
  const stack = variable("STACK");
  if (variable("FINAL_BACKUP") === "off") {
    console.log("No last backup is taken: the setting finalBackup is false.");
    return;
  }
  console.log("Taking a last backup.");
  const { code } = await docker(["exec", container, programCommand, "now"], { show: true });
  if (code !== 0) fail(`The last backup could not be taken in container ${container}`);
  const copy = process.env.COPY_CONTAINER;
  if (copy === undefined) return;
  console.log("Copying it off the host.");
  const copied = await docker(["exec", copy, copyCommand, "now"], { show: true });
  if (copied.code !== 0) fail(`The last backup was taken, but not copied off the host by container ${copy}`);

  function fail(what: string): never {
    throw new BackupError(
      [
        `${what}; nothing has been removed.`,
        `What to do: ./db backup check ${stack} names what is wrong; mend it, and run pulumi destroy again.`,
        "To go without a last backup:",
        `  pulumi config set -s ${stack} finalBackup false && pulumi up -s ${stack} && pulumi destroy -s ${stack}`,
      ].join("\n"),
    );
  }
});
