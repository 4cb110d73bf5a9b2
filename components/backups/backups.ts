import * as command from "@pulumi/command";
import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import { compileCache } from "../compile-cache.ts";
import { roleNames } from "../names.ts";
import { goDuration } from "../server/postgres-server.ts";
import { backupStandby } from "../server/server-settings.ts";
import type { BackupSettings, Settings } from "../settings.ts";
import { BackupCopy, copyStateMount } from "./copy.ts";
import {
  backupEnvironment,
  passwordLine,
  programCommand,
  programEntrypoint,
  programFiles,
  programFolder,
  repositoryMount,
  repositoryOf,
  scratchMount,
} from "./program.ts";

export interface BackupsArgs {
  readonly settings: Settings;
  readonly backup: BackupSettings;
  /** Of the names of all Docker objects. */
  readonly prefix: string;
  readonly labels: (role: string) => { label: string; value: string }[];
  readonly networkName: pulumi.Input<string>;
  /** The server's own: its version of the tools is the one that fits. */
  readonly image: pulumi.Input<string>;
  /** How a container in the network reaches the server. */
  readonly server: { readonly host: string; readonly port: number };
  /** Of the server's container. */
  readonly serverId: pulumi.Input<string>;
  /** The backup role's. */
  readonly password: pulumi.Output<string>;
  /** Of the copy off the host. */
  readonly copyKey: pulumi.Output<string>;
  /** PEM of the authority that verifies the server; undefined: no TLS. */
  readonly ca: pulumi.Output<string> | undefined;
  /** Must be done before anything connects. */
  readonly after: readonly pulumi.Resource[];
}

/** Mebibytes. Compressing takes some of them; the rest is the limit's share of the page cache. */
const backupMemory = 512;
/** A throwaway server with PostgreSQL's default settings, and the tools that check it. */
const drillMemory = 1024;

/**
 * Base backups and WAL of the server in a place of their own, and the proof that they can be restored.
 *
 * The containers hold nothing: all that matters is in the repository.
 */
export class Backups extends pulumi.ComponentResource {
  /** Done when WAL is streaming to the repository. */
  readonly ready: command.local.Command;
  /** Takes a last backup when it is deleted. */
  readonly final: command.local.Command;
  /** The volume's name, or the host's folder. */
  readonly repository: pulumi.Output<string>;
  /** The same as a container's volumes have it. */
  readonly place: Pick<docker.types.input.ContainerVolume, "volumeName" | "hostPath">;
  readonly containerName: pulumi.Output<string>;

  private readonly componentName: string;
  private readonly args: BackupsArgs;

  constructor(name: string, args: BackupsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:Backups", name, {}, opts);
    this.componentName = name;
    this.args = args;

    const repository = this.createRepository();
    this.repository = repository?.name ?? pulumi.output(repositoryOf(args.prefix, args.backup));
    this.place =
      args.backup.folder === undefined ? { volumeName: this.repository } : { hostPath: args.backup.folder };
    const copy = this.createCopy();
    const backup = this.createBackupContainer(copy);
    const drill = args.backup.drillEvery === 0 ? undefined : this.createDrillContainer(backup);
    this.ready = this.awaitStreaming(backup);
    this.final = this.createFinalBackup(
      [this.ready, backup, ...(drill ? [drill] : []), ...(copy ? [copy.container] : [])],
      copy !== undefined,
    );
    this.containerName = backup.name;
    this.registerOutputs();
  }

  private createRepository(): docker.Volume | undefined {
    const { backup, labels, prefix } = this.args;
    if (backup.folder !== undefined) return undefined;
    return new docker.Volume(
      `${this.componentName}-repository`,
      { name: repositoryOf(prefix, backup), labels: labels("backups") },
      // As with the data's volume: Docker can't change labels, and another label is no reason for an empty one.
      { parent: this, retainOnDelete: true, ignoreChanges: ["labels"] },
    );
  }

  private repositoryVolume(readOnly: boolean): docker.types.input.ContainerVolume {
    return { ...this.place, containerPath: repositoryMount, ...(readOnly ? { readOnly: true } : {}) };
  }

  private createCopy(): BackupCopy | undefined {
    const { backup, copyKey, labels, prefix } = this.args;
    if (backup.copy === undefined) return undefined;
    return new BackupCopy(
      `${this.componentName}-copy`,
      { copy: backup.copy, key: copyKey, prefix, labels, repository: this.repositoryVolume(true) },
      { parent: this },
    );
  }

  private createBackupContainer(copy: BackupCopy | undefined): docker.Container {
    return new docker.Container(
      `${this.componentName}-container`,
      {
        ...this.containerArgs("backup", backupMemory),
        command: ["run"],
        volumes: [
          this.repositoryVolume(false),
          ...(copy ? [{ volumeName: copy.stateVolume, containerPath: copyStateMount, readOnly: true }] : []),
        ],
        healthcheck: {
          tests: ["CMD", programCommand, "healthy"],
          interval: goDuration(30),
          timeout: goDuration(10),
          startPeriod: goDuration(60),
          retries: 3,
        },
      },
      { parent: this, dependsOn: [...this.args.after], deleteBeforeReplace: true },
    );
  }

  private createDrillContainer(after: docker.Container): docker.Container {
    const { labels, prefix } = this.args;
    const scratch = new docker.Volume(
      `${this.componentName}-scratch`,
      { name: `${prefix}-drill`, labels: labels("drill") },
      // Nothing in it is lost with it: drills can be given up by the settings, also where the environment is protected.
      { parent: this, protect: false, ignoreChanges: ["labels"] },
    );
    return new docker.Container(
      `${this.componentName}-drill`,
      {
        ...this.containerArgs("drill", drillMemory),
        command: ["drill"],
        volumes: [this.repositoryVolume(true), { volumeName: scratch.name, containerPath: scratchMount }],
      },
      { parent: this, dependsOn: [after], deleteBeforeReplace: true },
    );
  }

  private containerArgs(role: "backup" | "drill", memory: number) {
    const { args } = this;
    return {
      name: `${args.prefix}-${role}`,
      image: args.image,
      entrypoints: [programEntrypoint],
      envs: Object.entries(
        backupEnvironment(args.settings, args.backup, { ...args.server, slot: backupStandby }),
      ).map(([key, value]) => `${key}=${value}`),
      uploads: this.uploads(),
      networksAdvanced: [{ name: args.networkName }],
      init: true,
      restart: "unless-stopped",
      // The image asks for SIGINT, which is PostgreSQL's.
      stopSignal: "SIGTERM",
      stopTimeout: 30,
      destroyGraceSeconds: 30,
      // The plugin takes a missing memorySwap for a change at every run; the same value means: no swap.
      memory,
      memorySwap: memory,
      logDriver: "json-file",
      logOpts: { "max-size": "10m", "max-file": "3" },
      labels: args.labels(role),
    } satisfies Partial<docker.ContainerArgs>;
  }

  private uploads(): docker.types.input.ContainerUpload[] {
    const { backup, ca, password, settings } = this.args;
    const file = (name: string, content: pulumi.Input<string>, permissions: string) => ({
      file: `${programFolder}/${name}`,
      content,
      permissions,
    });
    return [
      ...programFiles().map(({ content, name }) => file(name, content, "0755")),
      file(
        "pgpass",
        password.apply((text) => passwordLine(roleNames(settings.appName).backup, text)),
        "0600",
      ),
      ...(ca ? [file("ca.crt", ca, "0644")] : []),
      ...(backup.drillQuery === undefined ? [] : [file("drill-query.sql", backup.drillQuery, "0644")]),
    ];
  }

  private awaitStreaming(container: docker.Container): command.local.Command {
    return new command.local.Command(
      `${this.componentName}-ready`,
      {
        create: "node backup/await-streaming.ts",
        environment: {
          ...compileCache,
          CONTAINER: container.name,
          // Not read: a new container has a new id, and only a changed input makes the command run again. A new server
          // counts too: after a restore, streaming begins anew.
          CONTAINER_ID: container.id,
          SERVER_ID: this.args.serverId,
        },
      },
      { parent: this },
    );
  }

  /**
   * A last backup. `pulumi destroy` deletes what depends on others first: this one, with the server and the backup
   * containers still running. It is always there: were it taken out of the program, that would be its deletion.
   */
  private createFinalBackup(after: pulumi.Resource[], copied: boolean): command.local.Command {
    const { backup, prefix } = this.args;
    return new command.local.Command(
      `${this.componentName}-final`,
      {
        delete: "node backup/final-backup.ts",
        environment: {
          ...compileCache,
          CONTAINER: `${prefix}-backup`,
          STACK: pulumi.getStack(),
          FINAL_BACKUP: backup.final ? "on" : "off",
          ...(copied ? { COPY_CONTAINER: `${prefix}-copy` } : {}),
        },
      },
      { parent: this, dependsOn: after },
    );
  }
}
