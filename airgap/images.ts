import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { exitCode, UserError } from "../cli/errors.ts";
import { capture } from "../cli/processes.ts";
import { runStep, type StepReporter } from "../cli/steps.ts";
import { digest } from "./files.ts";
import { project, unfinished } from "./folders.ts";
import { installPackages } from "./packages.ts";
import { CommandFailed, run } from "./run.ts";

/** A stand-in image carries it, with the value 1; a genuine one never does. */
export const airgapLabel = "postgresql-environments.airgap";
/** What a stand-in image was made from, to make it again when that changes. */
const sourcesLabel = "postgresql-environments.airgap.sources";

/** What an image is made from where it can't be pulled. */
export interface StandInImage {
  readonly name: string;
  /** What is in it, and the folder of its Dockerfile. */
  readonly program: "postgres" | "rclone" | MonitoringProgram;
  /** PostgreSQL's major version; empty for the others, of which a Debian release has just one. */
  readonly major: string;
  /** The Debian release that has it. */
  readonly suite: string;
}

type MonitoringProgram = "postgres-exporter" | "node-exporter" | "prometheus";

/** How each kind of image is made from Debian's packages. */
const recipes: Readonly<Record<StandInImage["program"], Recipe>> = {
  postgres: {
    title: "PostgreSQL",
    folder: join(project, "airgap", "image"),
    bootstrapArguments: postgresBootstrap,
    versionCommand: ({ major }) => [
      "dpkg-query",
      "--show",
      `--showformat=\${Version}`,
      `postgresql-${major}`,
    ],
    buildArguments: postgresBuildArguments,
  },
  rclone: {
    title: "rclone",
    folder: join(project, "airgap", "image-rclone"),
    bootstrapArguments: rcloneBootstrap,
    // Its packages are unpacked without dpkg's own records.
    versionCommand: () => ["/usr/bin/rclone", "version"],
    buildArguments: () => ({}),
  },
  "postgres-exporter": monitoring("PostgreSQL exporter", "postgres-exporter", "prometheus-postgres-exporter"),
  "node-exporter": monitoring("node exporter", "node-exporter", "prometheus-node-exporter"),
  prometheus: monitoring("Prometheus", "prometheus", "prometheus"),
};

/** All three are made from one root file system. */
function monitoring(title: string, program: MonitoringProgram, binary: string): Recipe {
  return {
    title,
    folder: join(project, "airgap", `image-${program}`),
    root: "monitoring",
    bootstrapArguments: monitoringBootstrap,
    versionCommand: () => [`/usr/bin/${binary}`, "--version"],
    buildArguments: () => ({}),
  };
}

interface Recipe {
  /** What people call the program. */
  readonly title: string;
  /** Has the Dockerfile and what it copies. */
  readonly folder: string;
  /** Of the root file system's name, where several programs share one. Default: the version or program. */
  readonly root?: string;
  /** mmdebstrap's, without the archive's name. Part of the digest of sources: a change builds every such image anew. */
  bootstrapArguments(image: StandInImage): string[];
  /** What it prints begins with the version, a name before it aside. */
  versionCommand(image: StandInImage): string[];
  /** Of the Dockerfile, beside ROOT and VERSION. */
  buildArguments(image: StandInImage): Readonly<Record<string, string>>;
}

/** PostgreSQL's major version in each Debian release. */
const majorIn: Readonly<Record<string, string>> = {
  bullseye: "13",
  bookworm: "15",
  trixie: "17",
  forky: "18",
};

/**
 * @param name As in `postgres:17-trixie`, `postgres:17` or `rclone/rclone:1.75.0`.
 * @returns Undefined where nothing stands in for it.
 */
export function standInFor(name: string): StandInImage | undefined {
  // Whatever the version: Debian's is older than any that one would choose, and the program needs nothing newer.
  if (/^(?:docker\.io\/)?rclone\/rclone:1\.\d+(?:\.\d+)?$/.test(name)) {
    return { name, program: "rclone", major: "", suite: "trixie" };
  }
  // Here too: the flags in use are in Debian's version and in the genuine one.
  const [, monitoringProgram] =
    /^quay\.io\/(?:prometheuscommunity|prometheus)\/(postgres-exporter|node-exporter|prometheus):v\d+\.\d+\.\d+$/.exec(
      name,
    ) ?? [];
  if (monitoringProgram) {
    return { name, program: monitoringProgram as MonitoringProgram, major: "", suite: "trixie" };
  }
  const match = /^(?:docker\.io\/)?(?:library\/)?postgres:(\d+)(?:\.\d+)?(?:-([a-z]+))?$/.exec(name);
  const [, major, wanted] = match ?? [];
  const suite = Object.keys(majorIn).find((each) => majorIn[each] === major && (!wanted || wanted === each));
  return major && suite ? { name, program: "postgres", major, suite } : undefined;
}

/** Milliseconds that a pull may be silent before the registry counts as out of reach. */
const pullPatience = 20_000;

/**
 * Makes sure that an image is there: the genuine one where it is, or can be pulled; else a stand-in.
 *
 * @param again Whether to try a pull where a stand-in is there already.
 * @returns Whether the image is genuine.
 * @throws {UserError} Where the image can't be pulled and nothing stands in for it.
 */
export async function prepareImage(
  reporter: StepReporter,
  name: string,
  options: { readonly again: boolean; readonly genuine: boolean | undefined },
): Promise<boolean> {
  const labels = await labelsOf(name);
  const isStandIn = labels?.[airgapLabel] === "1";
  if (labels && !isStandIn) return true;
  const spec = standInFor(name);
  const sources = spec && (await sourcesOf(spec));
  const isCurrent = isStandIn && labels[sourcesLabel] === sources;
  if (isCurrent && !options.again && options.genuine !== true) return false;

  const mayPull = options.genuine !== false && (!isStandIn || options.again || options.genuine === true);
  const problem = mayPull ? await pull(reporter, name) : "stand-ins were asked for";
  if (problem === undefined) return true;
  if (options.genuine === true || !spec || !sources) {
    const standIns = spec ? "" : ` ${whatStandsIn(name)}`;
    throw new UserError(`The image ${name} can't be pulled: ${problem}`, {
      next: `Check the image's name and the way to its registry, or load it into the Docker Engine by hand.${standIns}`,
      exitCode: exitCode.missing,
    });
  }
  if (!isCurrent) await build(reporter, spec, sources);
  return false;
}

function whatStandsIn(name: string): string {
  if (/(?:^|\/)grafana\/grafana\b/.test(name)) {
    return "Nothing stands in for Grafana, which is no package of Debian's: use monitoring prometheus here, or load Grafana's image by hand.";
  }
  return "Stand-ins can be made for postgres:17-trixie, postgres:15-bookworm, rclone/rclone:1.75.0 and the images of Prometheus and its exporters on quay.io.";
}

/** @returns Undefined where there is no such image. */
export async function labelsOf(name: string): Promise<Readonly<Record<string, string>> | undefined> {
  const answer = await capture("docker", ["image", "inspect", "--format", "{{json .Config.Labels}}", name]);
  if (answer.code === 0) return (JSON.parse(answer.stdout) as Record<string, string> | null) ?? {};
  if (/no such image/i.test(answer.stderr)) return undefined;
  throw new UserError(`The image ${name} can't be looked up. ${answer.stderr.trim()}`, {
    next: "Check the image's name and the Docker Engine.",
  });
}

/** @returns Why it could not be pulled. */
async function pull(reporter: StepReporter, name: string): Promise<string | undefined> {
  return runStep(reporter, `Pulling the image ${name}`, async (step) => {
    try {
      await run("docker", ["pull", name], { silence: pullPatience, onLine: step.progress });
      return { result: undefined };
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      return { result: error.output.split("\n").at(-1) || error.message, note: "out of reach" };
    }
  });
}

function packagesOf({ major }: StandInImage): string[] {
  const server = [`postgresql-${major}`, `postgresql-${major}-cron`, `postgresql-${major}-pgaudit`];
  return [...server, "ca-certificates", "gosu", "less", "libnss-wrapper", "locales", "xz-utils", "zstd"];
}

/** Run by mmdebstrap with the new root folder as `$1`. */
const hooks = {
  // The official image's numbers, so that a volume's owner is the same under both. And no cluster but the entrypoint's.
  essential: `
    echo 'postgres:x:999:' >>"$1/etc/group"
    echo 'postgres:x:999:999::/var/lib/postgresql:/bin/bash' >>"$1/etc/passwd"
    echo 'postgres:!:20000::::::' >>"$1/etc/shadow"
    mkdir -p "$1/etc/postgresql-common"
    echo 'create_main_cluster = false' >"$1/etc/postgresql-common/createcluster.conf"`,
  customize: `chroot "$1" localedef -i en_US -c -f UTF-8 en_US.UTF-8`,
};

const dpkgOptions = [
  "path-exclude=/usr/share/doc/*",
  "path-include=/usr/share/doc/*/copyright",
  "path-exclude=/usr/share/man/*",
  "path-exclude=/usr/share/locale/*",
  "force-confold",
];

function postgresBootstrap(image: StandInImage): string[] {
  return [
    "--variant=minbase",
    `--include=${packagesOf(image).join()}`,
    ...dpkgOptions.map((option) => `--dpkgopt=${option}`),
    '--aptopt=Acquire::Languages "none"',
    // Testing's index expires after a week, which a mirror that is fetched by hand can't keep up with.
    ...(image.suite === "forky" ? ['--aptopt=Acquire::Check-Valid-Until "false"'] : []),
    '--aptopt=APT::Install-Recommends "false"',
    `--essential-hook=${hooks.essential}`,
    `--customize-hook=${hooks.customize}`,
    image.suite,
  ];
}

function postgresBuildArguments({ major }: StandInImage): Record<string, string> {
  const data = Number(major) >= 18 ? `/var/lib/postgresql/${major}/docker` : "/var/lib/postgresql/data";
  return { MAJOR: major, PGDATA: data, VOLUME: Number(major) >= 18 ? "/var/lib/postgresql" : data };
}

/** The genuine image is Alpine with one program: no more than that is unpacked, without Debian's own userland. */
function rcloneBootstrap({ suite }: StandInImage): string[] {
  return [
    "--variant=extract",
    "--include=base-files,busybox-static,ca-certificates,rclone,tzdata",
    ...[...dpkgOptions, "path-exclude=/usr/lib/*/gconv/*", "path-exclude=/usr/share/perl*"].map(
      (option) => `--dpkgopt=${option}`,
    ),
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    suite,
  ];
}

/** The genuine images have a program and next to nothing else: no shell in this one, so that nobody comes to need it. */
function monitoringBootstrap({ suite }: StandInImage): string[] {
  return [
    "--variant=extract",
    "--include=base-files,prometheus,prometheus-node-exporter,prometheus-postgres-exporter,promtool",
    ...[
      ...dpkgOptions,
      "path-exclude=/usr/lib/*/gconv/*",
      "path-exclude=/usr/share/*",
      "path-exclude=/usr/bin/*sh",
    ].map((option) => `--dpkgopt=${option}`),
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    suite,
  ];
}

/** A digest of what an image's root file system is made from. */
function rootOf(image: StandInImage): Promise<string> {
  return digest([], JSON.stringify(recipes[image.program].bootstrapArguments(image)));
}

async function sourcesOf(image: StandInImage): Promise<string> {
  return digest([recipes[image.program].folder], await rootOf(image));
}

/**
 * Debian packages become a root file system, imported as an image of its own; the Dockerfile makes the official
 * image's contract of it. The image gets its name in the last step, so that an interrupted build leaves none.
 */
async function build(reporter: StepReporter, image: StandInImage, sources: string): Promise<void> {
  await installBootstrap(reporter);
  const recipe = recipes[image.program];
  await runStep(reporter, `Building a stand-in for the image ${image.name}`, async (step) => {
    try {
      const kind = image.major || (recipe.root ?? image.program);
      const root = `postgresql-environments-airgap:${image.suite}-${kind}-${await rootOf(image)}`;
      // Images are made at the same time, and several may want the same root.
      const being = roots.get(root) ?? makeRoot(image, root, step.progress);
      roots.set(root, being);
      await being.finally(() => roots.delete(root));
      const ask = ["run", "--rm", "--network=none", root, ...recipe.versionCommand(image)];
      const said = await capture("docker", ask);
      // Some say it on standard error.
      const version = /\d\S*/.exec(said.stdout || said.stderr)?.[0] ?? "";
      const settings = { ROOT: root, VERSION: version, ...recipe.buildArguments(image) };
      await run(
        "docker",
        [
          "build",
          ...Object.entries(settings).map(([name, value]) => `--build-arg=${name}=${value}`),
          `--label=${sourcesLabel}=${sources}`,
          `--tag=${image.name}`,
          recipe.folder,
        ],
        { onLine: (line) => line.startsWith("Step ") && step.progress(line) },
      );
      return { result: undefined, note: `${recipe.title} ${version} from Debian ${image.suite}` };
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      throw new UserError(`The stand-in for the image ${image.name} could not be built. ${error.message}`, {
        next: "Run this again. Debian's package registry must be in reach, and airgap/README.md says what else.",
        exitCode: exitCode.missing,
        cause: error,
      });
    }
  });
}

/** Those that are being made, by name. */
const roots = new Map<string, Promise<void>>();

async function makeRoot(image: StandInImage, root: string, progress: (text: string) => void): Promise<void> {
  if (!(await labelsOf(root))) await importRoot(image, root, progress);
}

async function importRoot(
  image: StandInImage,
  root: string,
  progress: (text: string) => void,
): Promise<void> {
  await mkdir(unfinished, { recursive: true });
  // A file, not a pipe: docker import takes the archive of a bootstrap that failed for an image.
  const archive = join(unfinished, `${root.replace(":", "-")}.tar`);
  const mirror = await debianMirror();
  await run(
    "mmdebstrap",
    [...recipes[image.program].bootstrapArguments(image), archive, ...(mirror ? [mirror] : [])],
    {
      nice: true,
      env: { TMPDIR: unfinished },
      onLine: (line) => {
        if (line.startsWith("I: ") && !line.includes("hook")) progress(line.slice(3));
      },
    },
  );
  progress("importing the archive");
  await run("docker", ["import", `--change=LABEL ${airgapLabel}=1`, archive, root]);
  await rm(archive);
}

async function installBootstrap(reporter: StepReporter): Promise<void> {
  if ((await capture("sh", ["-c", "command -v mmdebstrap"])).code === 0) return;
  await installPackages(reporter, ["mmdebstrap", "debian-archive-keyring"], {
    missing: "mmdebstrap is needed to build an image, and is not installed.",
    next: "Install mmdebstrap, or load the image into the Docker Engine by hand (docker load).",
  });
}

/** The mirror that this machine gets its own Debian packages from; undefined leaves the choice to mmdebstrap. */
async function debianMirror(): Promise<string | undefined> {
  const format = "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)";
  const answer = await capture("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]).catch(
    () => undefined,
  );
  const lines = answer?.stdout.split("\n").map((line) => line.split(" ")) ?? [];
  return lines.find(
    ([origin, suite, component]) => origin === "Debian" && component === "main" && !suite?.includes("-"),
  )?.[3];
}
