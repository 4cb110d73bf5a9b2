import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Command, Option } from "commander";
import { describeError, exitCode } from "../../cli/errors.ts";
import { consoleReporter } from "../../cli/steps.ts";
import { copyImage } from "../../components/backups/copy-image.ts";
import { monitoringImages } from "../../components/settings/monitoring-defaults.ts";
import { settingKeys } from "../../components/settings/schema.ts";
import { choiceVariable } from "../decision.ts";
import { project, standInHome } from "../folders.ts";
import { prepareImages } from "../setup.ts";
import { formatComparison } from "./compare.ts";
import { type Home, openHome, problemsOfHome } from "./homes.ts";
import { type Check, runScenario } from "./runner.ts";
import { scenariosOf } from "./scenarios.ts";
import { type Profile, run, Stack } from "./stack.ts";

const program = new Command("parity")
  .description(
    "Proves that the stand-in plugins and the genuine ones can take each other's place: makes stacks with one set, " +
      "and previews, refreshes, updates and destroys them with the other.",
  )
  .requiredOption("--home <folder>", "a PULUMI_HOME that has the genuine CLI and plugins")
  .addOption(
    new Option("--profile <profile>", "what to run")
      .choices(["production", "development", "both"])
      .default("both"),
  )
  .option("--json", "print the result as JSON")
  .addHelpText(
    "after",
    "\nExit codes: 0 no difference, 1 differences, 2 wrong usage, 3 something is missing.",
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? exitCode.ok : exitCode.usage))
  .parse();
const options = program.opts<{ home: string; profile: Profile | "both"; json?: true }>();

const standIns = home(
  { name: "stand-ins", folder: standInHome },
  `Make them with: ${choiceVariable}=airgap airgap/setup`,
);
const genuine = home(
  { name: "genuine", folder: resolve(options.home) },
  "Install the genuine CLI there, then each plugin with: pulumi plugin install resource NAME VERSION",
);
const serverImage = settingKeys.image.declared.default;
const { exporter, nodeExporter, prometheus } = monitoringImages;
const images = [serverImage, copyImage, exporter, nodeExporter, prometheus];
await prepareImages(consoleReporter(), images).catch((error: unknown) =>
  fail(describeError(error, process.env.DEBUG === "1").replace(/^db: /, "")),
);

const folder = mkdtempSync(join(tmpdir(), "parity-"));
const backupFolder = join(folder, "backups");
mkdirSync(backupFolder);
const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => interruption.abort(new Error(`ended by ${signal}`)));
}
try {
  conclude(await runAll());
} catch (error) {
  if (!interruption.signal.aborted) throw error;
  console.error("Interrupted; what it had made is removed.");
  process.exitCode = exitCode.interrupted;
} finally {
  await emptyBackupFolder();
  rmSync(folder, { recursive: true, force: true });
}

async function runAll(): Promise<Check[]> {
  const passphrase = randomBytes(16).toString("hex");
  const name = `parity-${randomBytes(3).toString("hex")}`;
  const port = await freePort();
  const prometheusPort = await freePort();
  const { signal } = interruption;
  const checks: Check[] = [];
  const profiles = options.profile === "both" ? (["development", "production"] as const) : [options.profile];
  for (const profile of profiles) {
    const newStack = () => {
      // The same each time: where the state is turns up in a label.
      const own = join(folder, "stack");
      rmSync(own, { recursive: true, force: true });
      mkdirSync(own);
      return new Stack({ name, projectFolder: project, folder: own, passphrase, signal });
    };
    for (const scenario of scenariosOf(profile, { backupFolder, port, prometheusPort })) {
      checks.push(
        ...(await runScenario(scenario, { standIns, genuine, newStack, emptyBackupFolder, report })),
      );
    }
  }
  return checks;
}

/** The server's user owns what is in it: only a container can remove that, whoever runs this. */
async function emptyBackupFolder(): Promise<void> {
  if (readdirSync(backupFolder).length === 0) return;
  const { ok, output } = await run("docker", [
    ...["run", "--rm", "--user", "0", "--network", "none", "--volume", `${backupFolder}:/backups`],
    ...["--entrypoint", "find", serverImage, "/backups", "-mindepth", "1", "-delete"],
  ]);
  if (!ok) throw new Error(`${backupFolder} could not be emptied: ${output}`);
}

function conclude(checks: Check[]): void {
  const held = checks.filter(({ ok }) => ok).length;
  const ok = held === checks.length;
  if (options.json) console.log(JSON.stringify({ ok, checks: checks.map(toJson) }, null, 2));
  else console.log(`\n${held} of ${checks.length} checks hold.`);
  process.exitCode = ok ? exitCode.ok : exitCode.failure;
}

function home(wanted: Pick<Home, "name" | "folder">, advice: string): Home {
  const problems = problemsOfHome(wanted);
  if (problems.length === 0) return openHome(wanted);
  return fail(
    `${wanted.folder} is no PULUMI_HOME with ${wanted.name}:\n  ${problems.join("\n  ")}\n${advice}`,
  );
}

function fail(message: string): never {
  console.error(message);
  process.exit(exitCode.missing);
}

function report(check: Check): void {
  if (options.json) return;
  const seconds = check.seconds > 0 ? ` (${check.seconds.toFixed(1)} s)` : "";
  console.log(`${check.ok ? "ok  " : "FAIL"} ${check.name}${seconds}`);
  const { comparison } = check;
  const details = comparison ? formatComparison(comparison, comparison.left, comparison.right) : [];
  for (const line of [...details, ...(check.output ?? "").trimEnd().split("\n")]) {
    if (line !== "") console.log(`       ${line}`);
  }
}

function toJson({ comparison, ...check }: Check) {
  if (comparison === undefined) return check;
  const ignored = [...comparison.ignored].map(([rule, places]) => ({ ...rule, places }));
  return { ...check, ...comparison, ignored, comparison: undefined };
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => done(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
