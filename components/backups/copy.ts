import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import { goDuration } from "../server/postgres-server.ts";
import type { CopySettings } from "../settings.ts";
import { copyCommand, copyEnvironment, copyFolder, copyStateFolder } from "./copy-environment.ts";
import { copyImage } from "./copy-image.ts";

/** Where the container of the backups finds the state of the copy, which it tells of. */
export const copyStateMount = "/copy";

/** Mebibytes. Four files at a time, each with its buffers and the parts that object stores are sent. */
const memory = 512;

export interface BackupCopyArgs {
  readonly copy: CopySettings;
  readonly key: pulumi.Output<string>;
  /** Of the names of all Docker objects. */
  readonly prefix: string;
  readonly labels: (role: string) => { label: string; value: string }[];
  /** The repository, to be read. */
  readonly repository: docker.types.input.ContainerVolume;
}

/**
 * Copies the backups to a storage off the host, all the time.
 *
 * Its container reads the repository and reaches the storage: it has no way to the database, in a network of its own,
 * and no rights but that to read the repository's files.
 */
export class BackupCopy extends pulumi.ComponentResource {
  /** Volume with the state of the copy in it: `status.conf`. */
  readonly stateVolume: pulumi.Output<string>;
  readonly container: docker.Container;

  constructor(name: string, args: BackupCopyArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:BackupCopy", name, {}, opts);
    const { copy, key, labels, prefix } = args;
    // Neither has anything in it that is lost with it: the copy can be given up by its settings, also where the
    // environment is protected.
    const disposable = { parent: this, protect: false, ignoreChanges: ["labels"] };
    const network = new docker.Network(
      `${name}-network`,
      { name: `${prefix}-copy-network`, driver: "bridge", labels: labels("copy-network") },
      disposable,
    );
    const state = new docker.Volume(
      `${name}-state`,
      { name: `${prefix}-copy`, labels: labels("copy-state") },
      disposable,
    );
    this.stateVolume = state.name;
    // The plugin deletes the old container before it looks for the new one's image.
    const image = new docker.RemoteImage(
      `${name}-image`,
      { name: copyImage, keepLocally: true },
      { parent: this },
    );
    this.container = new docker.Container(
      `${name}-container`,
      {
        name: `${prefix}-copy`,
        // By its content: a tag that moves changes no container.
        image: image.imageId,
        entrypoints: [copyCommand],
        command: ["run"],
        envs: Object.entries(copyEnvironment(copy, pulumi.getProject(), pulumi.getStack())).map(
          ([variable, value]) => `${variable}=${value}`,
        ),
        uploads: [
          ...scripts().map(({ content, file }) => ({
            file: `${copyFolder}/${file}`,
            content,
            permissions: "0755",
          })),
          { file: `${copyFolder}/rclone.conf`, content: copy.config, permissions: "0600" },
          ...(copy.encryption ? [{ file: `${copyFolder}/key`, content: key, permissions: "0600" }] : []),
        ],
        volumes: [args.repository, { volumeName: state.name, containerPath: copyStateFolder }],
        networksAdvanced: [{ name: network.name }],
        // The repository's files belong to PostgreSQL's user, which the image does not know.
        capabilities: { drops: ["ALL"], adds: ["CAP_DAC_READ_SEARCH"] },
        securityOpts: ["no-new-privileges"],
        healthcheck: {
          tests: ["CMD", copyCommand, "check"],
          interval: goDuration(30),
          timeout: goDuration(10),
          startPeriod: goDuration(60),
          retries: 3,
        },
        init: true,
        restart: "unless-stopped",
        stopTimeout: 10,
        destroyGraceSeconds: 10,
        // The plugin takes a missing memorySwap for a change at every run; the same value means: no swap.
        memory,
        memorySwap: memory,
        logDriver: "json-file",
        logOpts: { "max-size": "10m", "max-file": "3" },
        labels: labels("copy"),
      },
      { parent: this, deleteBeforeReplace: true },
    );
    if (copy.encryption && copy.key === undefined && !pulumi.runtime.isDryRun()) {
      void pulumi.log.warn(
        [
          "The copy of the backups off the host is encrypted with a generated key. Without it, nothing can be restored from the copy, and this stack's state has the only one: keep it in another place than this host.",
          `  pulumi stack output backupCopyKey --show-secrets --stack ${pulumi.getStack()}`,
          "  This is said until the key is a setting of the stack as well: pulumi config set --secret backupCopyKey",
        ].join("\n"),
        this,
      );
    }
    this.registerOutputs();
  }
}

function scripts(): { readonly file: string; readonly content: string }[] {
  const place = fileURLToPath(new URL("copy-container", import.meta.url));
  return readdirSync(place)
    .toSorted()
    .map((file) => ({ file, content: readFileSync(`${place}/${file}`, "utf8") }));
}
