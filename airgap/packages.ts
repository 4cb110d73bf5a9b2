import { access } from "node:fs/promises";
import { exitCode, UserError } from "../cli/errors.ts";
import { runStep, type StepReporter } from "../cli/steps.ts";
import { CommandFailed, run } from "./run.ts";

/**
 * Installs Debian packages, as root on a system that has apt.
 *
 * @throws {UserError} Elsewhere, with `missing` and `next` as its text; and where apt fails.
 */
export async function installPackages(
  reporter: StepReporter,
  packages: readonly string[],
  otherwise: { readonly missing: string; readonly next: string },
): Promise<void> {
  const hasApt = await access("/usr/bin/apt-get").then(
    () => true,
    () => false,
  );
  if (!hasApt || process.getuid?.() !== 0) {
    const hint = hasApt ? ` As root, this command would do it: apt-get install ${packages.join(" ")}` : "";
    throw new UserError(otherwise.missing, { next: otherwise.next + hint, exitCode: exitCode.missing });
  }
  // One at a time: of two apt-get, the second fails.
  const installation = last.then(() => install(reporter, packages, otherwise));
  last = installation.catch(() => undefined);
  await installation;
}

let last: Promise<void> = Promise.resolve();

function install(
  reporter: StepReporter,
  packages: readonly string[],
  otherwise: { readonly missing: string; readonly next: string },
): Promise<void> {
  return runStep(reporter, `Installing ${packages.join(", ")} with apt-get`, async (step) => {
    const apt = (args: readonly string[]) =>
      run("apt-get", ["-o", "DPkg::Lock::Timeout=300", "-q", "-y", ...args], {
        env: { DEBIAN_FRONTEND: "noninteractive" },
        onLine: step.progress,
      });
    const wanted = ["install", "--no-install-recommends", ...packages];
    try {
      // A new machine has no package lists, an old one outdated ones: both make the first try fail.
      await apt(wanted).catch(async () => {
        await apt(["update"]);
        await apt(wanted);
      });
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      throw new UserError(`${otherwise.missing} apt-get can't install it. ${error.message}`, {
        next: otherwise.next,
        exitCode: exitCode.missing,
        cause: error,
      });
    }
    return { result: undefined };
  });
}
