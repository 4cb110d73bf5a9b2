import { fileURLToPath } from "node:url";
import { copyImage } from "../components/backups/copy-image.ts";
import { repositoryMount } from "../components/backups/program.ts";
import { roleLabel } from "../components/labels.ts";
import { ask, BackupError, docker } from "./docker.ts";

/** How the copy is reached: an rclone.conf, and the key of the encryption (empty: there is none). */
export interface CopySecrets {
  readonly config: string;
  readonly key: string;
}

export interface Fetch {
  /** Of the container that does it. */
  readonly name: string;
  /** The empty repository: a volume, made where it is missing, or a folder of the host. */
  readonly repository: string;
  /** The server's, whose user the repository's files belong to. */
  readonly image: string;
  /** On the volume and the container, each with its role. */
  readonly labels: Readonly<Record<string, string>>;
  /** Of the copy's program; see components/backups/copy-environment.ts. */
  readonly environment: Readonly<Record<string, string>>;
  readonly secrets: CopySecrets;
  /** Network that reaches the storage. Default: Docker's own. */
  readonly network?: string;
}

/**
 * Fills an empty repository from the copy off the host. An earlier try that was interrupted is gone on with.
 *
 * @throws BackupError Where the copy can't be reached or read, or the repository is not empty.
 */
export async function fetchCopy(fetch: Fetch): Promise<void> {
  const { environment, image, name, network, repository, secrets } = fetch;
  const isFolder = repository.startsWith("/");
  if (!isFolder && (await docker(["volume", "inspect", repository])).code !== 0) {
    await ask(["volume", "create", ...labels(fetch, "backups"), repository]);
  }
  if ((await docker(["image", "inspect", copyImage])).code !== 0) await ask(["pull", "--quiet", copyImage]);
  const owner = await ask([
    ...["run", "--rm", "--network", "none", "--entrypoint", "sh", image],
    ...["-c", 'echo "$(id -u postgres):$(id -g postgres)"'],
  ]);
  console.log(`Filling ${repository} from the copy off the host.`);
  await docker(["rm", "--force", "--volumes", name]);
  try {
    const variables = { ...environment, COPY_SECRETS: "stdin", REPOSITORY_OWNER: owner };
    await ask([
      ...["create", "--name", name, "--interactive", "--init", ...labels(fetch, "fetch")],
      ...(network === undefined ? [] : ["--network", network]),
      ...["--mount", `type=${isFolder ? "bind" : "volume"},source=${repository},target=${repositoryMount}`],
      ...Object.entries(variables).flatMap(([key, value]) => ["--env", `${key}=${value}`]),
      ...["--entrypoint", "sh", copyImage, "/program/copy", "fetch"],
    ]);
    await ask([
      "cp",
      fileURLToPath(new URL("../components/backups/copy-container", import.meta.url)),
      `${name}:/program`,
    ]);
    // The key has a line of its own, before the file.
    const { code } = await docker(["start", "--attach", "--interactive", name], {
      input: `${secrets.key}\n${secrets.config}\n`,
      show: true,
    });
    if (code !== 0) throw new BackupError("The copy could not be fetched, as the lines above say.");
  } finally {
    await docker(["rm", "--force", "--volumes", name]);
  }
}

function labels(fetch: Fetch, role: string): string[] {
  return Object.entries({ ...fetch.labels, [roleLabel]: role }).flatMap(([key, value]) => [
    "--label",
    `${key}=${value}`,
  ]);
}
