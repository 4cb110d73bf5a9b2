import { relative, resolve } from "node:path";
import { compareCatalogues } from "../../catalogue/compare.ts";
import type { CatalogueObject } from "../../catalogue/read.ts";
import { roleDefinitions } from "../../components/access/roles.ts";
import { roleNames } from "../../components/names.ts";
import { connect } from "../../migrator/connection.ts";
import { readFolder } from "../../migrator/files.ts";
import { containerName, removeLeftOvers } from "../../rehearsal/server.ts";
import {
  asCatalogue,
  declaredFiles,
  declaredObject,
  inspectedObject,
  inspectImage,
  inspectServer,
  parseDeclared,
  readFiles,
} from "../../verification/container.ts";
import { tryPassword } from "../../verification/passwords.ts";
import { formatReport, reportOf } from "../../verification/report.ts";
import {
  checkPasswords,
  compareServers,
  type Finding,
  passwordFinding,
  readReference,
  readServer,
  readStack,
  type Subject,
  superuserOf,
} from "../../verification/verify.ts";
import { exitCode } from "../errors.ts";
import { projectRoot } from "../project.ts";
import { pulumiCommand } from "../pulumi.ts";
import { readDeployment, type StackDeployment, type StateResource } from "../stack-deployment.ts";
import { consoleReporter, runStep, seconds } from "../steps.ts";
import { prepareImage, readScripts, readSettingsOf, removedAtTheEnd } from "../throwaway-server.ts";
import { toolchainVariables } from "../toolchain.ts";

export async function verifyStack(stack: string, options: { readonly json?: true }): Promise<void> {
  const began = performance.now();
  const { findings, notCompared } = await findDifferences(stack);
  const report = reportOf(stack, findings, notCompared);
  const took = seconds(performance.now() - began);
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report, took));
  if (!report.good) process.exitCode = exitCode.failure;
}

async function findDifferences(
  stack: string,
): Promise<{ findings: Finding[]; notCompared: readonly string[] }> {
  const reporter = consoleReporter();
  const { project, settings } = await readSettingsOf(stack, "./db verify STACK");
  const initScripts = readScripts(settings, "Then verify again.");
  const deployment = await readDeployment(stack, await pulumiCommand(stack, await toolchainVariables()));
  const folder = relative("", resolve(projectRoot, settings.migrationsFolder)) || ".";
  const subject: Subject = {
    settings,
    outputs: deployment.outputs,
    passwords: otherPasswords(deployment, roleNames(settings.appName)),
    migrations: readFolder(folder).migrations,
    folder,
  };
  const containers = await compareContainers(deployment);
  const { superuser } = subject.outputs.connections;
  if ((await tryPassword(superuserOf(subject))) === "refused") {
    return {
      findings: [...containers, ...(await checkPasswords(subject)), passwordFinding(superuser.username)],
      notCompared: [
        `everything else: it takes the superuser, whose password is another. To give it one of the stack's again: ./db rotate ${stack} --role superuser`,
      ],
    };
  }
  const { accessFiles, monitor, status, verifiers } = await readStack(subject);
  const passwords = await checkPasswords(subject, verifiers);

  await prepareImage(reporter, settings.image);
  for (const name of await removeLeftOvers())
    reporter.note(`Removed ${name}, left behind by a killed command`);
  const container = containerName(project);
  const inPlace = new Set(
    status.migrations
      .filter(({ state }) => state === "applied" || state === "changed")
      .map(({ name }) => name),
  );
  const applied = subject.migrations.filter(({ name }) => inPlace.has(name));
  const [reference, live] = await removedAtTheEnd({ container, what: "the verification" }, () =>
    runStep(reporter, "Comparing with a throwaway server of the same settings", async () => ({
      result: await Promise.all([
        readReference(container, subject, initScripts, applied, monitor),
        readServer((database) => connect(superuserOf(subject, database)), settings.lifetime === "ephemeral"),
      ]),
      note: `PostgreSQL ${settings.majorVersion}, ${applied.length} migrations`,
    })),
  );
  return {
    findings: [
      ...containers,
      ...passwords,
      ...accessFiles,
      ...compareServers(subject, reference, live, status),
    ],
    notCompared: [],
  };
}

/** Those that no output has, by role: of the logins that only the program's own containers use. */
function otherPasswords(
  { outputs, resources }: StackDeployment,
  roles: ReturnType<typeof roleNames>,
): Record<string, string> {
  const told = new Set(Object.values(outputs.connections).map(({ username }) => username));
  return Object.fromEntries(
    roleDefinitions.flatMap(({ key, password }) => {
      const made = resources.find(
        ({ type, urn }) =>
          type === "random:index/randomPassword:RandomPassword" && urn.endsWith(`-credentials-${password}`),
      );
      const result = made?.outputs.result;
      return typeof result === "string" && !told.has(roles[key]) ? [[roles[key], result]] : [];
    }),
  );
}

const containerType = "docker:index/container:Container";
const imageType = "docker:index/remoteImage:RemoteImage";

/** Every container of the stack against what its state says. */
async function compareContainers({ resources }: StackDeployment): Promise<Finding[]> {
  const images = resources.filter(({ type }) => type === imageType);
  const compared = await Promise.all(
    resources
      .filter(({ type }) => type === containerType)
      .map(async (resource) => {
        const [should, is] = await bothSides(resource, images);
        return compareCatalogues(asCatalogue(should), asCatalogue(is));
      }),
  );
  return compared.flat().map((difference) => ({ area: "container", difference }));
}

async function bothSides(
  { id = "", inputs }: StateResource,
  images: readonly StateResource[],
): Promise<[CatalogueObject[], CatalogueObject[]]> {
  const container = parseDeclared(inputs);
  // A name is what updates before this program pinned images have left.
  const image = images.find(({ outputs }) => [outputs.imageId, outputs.name].includes(inputs.image));
  const imageId = image?.outputs.imageId;
  const state = { id, imageId: typeof imageId === "string" ? imageId : undefined };
  const found = await inspectServer(container.name);
  const brought = await inspectImage(state.imageId ?? String(inputs.image));
  const should = declaredObject(container, state, brought);
  if (found === undefined) return [[should], []];
  const running = found.State.Status === "running";
  return [
    [should, ...(running ? declaredFiles(container) : [])],
    [
      inspectedObject(container.name, found, container),
      ...(running ? await readFiles(found.Id, container) : []),
    ],
  ];
}
