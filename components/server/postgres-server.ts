import { readFileSync } from "node:fs";
import * as command from "@pulumi/command";
import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { DataGeneration } from "../backups/data-generation.ts";
import { RestoredVolume } from "../backups/restored-volume.ts";
import { compileCache } from "../compile-cache.ts";
import {
  checkoutLabel,
  configurationLabel,
  formatCheckoutMark,
  keepForLabel,
  majorVersionLabel,
  objectLabels,
  ownCheckout,
} from "../labels.ts";
import { roleNames } from "../names.ts";
import { toMebibytes } from "../settings/units.ts";
import type { Settings } from "../settings.ts";
import { closedAuthentication, hostBasedAuthentication, identityMap } from "./access-rules.ts";
import { bootstrapOf } from "./bootstrap.ts";
import { digest } from "./digest.ts";
import { dataPaths, fileNames, uploadFolder } from "./files.ts";
import { type InitScript, InitScriptsError, readInitScripts } from "./init-scripts.ts";
import { pinnedImage } from "./restarts.ts";
import { firstConfiguration, serverConfiguration } from "./server-configuration.ts";
import { configurationFolder, serverCommand, startParameters } from "./server-settings.ts";

/** Name by which containers in the environment's network reach the server. */
export const networkAlias = "postgres";
/** Port inside the container and the network. */
export const serverPort = 5432;

export interface PostgresServerArgs {
  readonly settings: Settings;
  readonly superuserPassword: pulumi.Output<string>;
  /**
   * By role name, what the server keeps in a password's place: the superuser's, and those that a volume which is taken
   * over must have before anyone connects.
   */
  readonly verifiers: Readonly<Record<string, pulumi.Output<string>>>;
  /** Which volume the data is in. */
  readonly data: DataGeneration;
  /** By role name: what restored data gets in a password's place. */
  readonly restoredVerifiers: Readonly<Record<string, pulumi.Output<string>>>;
  /** Key of the backups' copy, from which data may be restored; undefined: nothing is backed up. */
  readonly backupCopyKey: pulumi.Output<string> | undefined;
  /** Server certificate and key, PEM; undefined: no TLS. */
  readonly certificate: { certificate: pulumi.Output<string>; key: pulumi.Output<string> } | undefined;
}

/** A PostgreSQL server in a container, on a network of its own, with its data in a volume or in memory. */
export class PostgresServer extends pulumi.ComponentResource {
  readonly container: docker.Container;
  /** Done when the container has reported healthy. */
  readonly ready: command.local.Command;
  /** What the names of the environment's Docker objects begin with, before a `-`. */
  readonly prefix: pulumi.Output<string>;
  /** Done when the server can be connected to from outside the container. */
  readonly open: command.local.Command;
  readonly containerName: pulumi.Output<string>;
  readonly networkName: pulumi.Output<string>;
  /** Undefined: the data is in memory. */
  readonly volumeName: pulumi.Output<string> | undefined;
  /** Port on the Docker host. */
  readonly port: pulumi.Output<number>;
  /** Lines of pg_hba.conf. */
  readonly accessRules: readonly string[];
  /** The server's image, once it is there: its content's digest, or the name in an ephemeral environment. */
  readonly image: pulumi.Output<string>;

  constructor(name: string, args: PostgresServerArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:PostgresServer", name, {}, opts);
    const { settings } = args;
    const prefix = objectNamePrefix(name, settings, this);
    const labels = (role: string) => stackObjectLabels(settings, role);

    const network = new docker.Network(
      `${name}-network`,
      {
        name: pulumi.interpolate`${prefix}-network`,
        driver: "bridge",
        labels: [...labels("network"), ...whereabouts(settings)],
      },
      // Docker can't change a network's labels either (see the volume below), and the removal of one that applications
      // are connected to fails.
      { parent: this, ignoreChanges: ["labels"] },
    );
    const firstVolume =
      settings.lifetime === "persistent"
        ? new docker.Volume(
            `${name}-data`,
            {
              name: pulumi.interpolate`${prefix}-data`,
              labels: [...labels("data"), { label: majorVersionLabel, value: String(settings.majorVersion) }],
            },
            // Docker can't change a volume's labels: without ignoreChanges another label would replace the data.
            { parent: this, retainOnDelete: true, ignoreChanges: ["labels"] },
          )
        : undefined;

    const { generation } = args.data;
    const restored =
      generation === 0
        ? undefined
        : new RestoredVolume(
            `${name}-restored-${generation}`,
            {
              settings,
              data: args.data,
              prefix: persistentPrefix(),
              labels: labels("data"),
              superuserPassword: args.superuserPassword,
              passwords: args.restoredVerifiers,
              copyKey: args.backupCopyKey,
            },
            { parent: this },
          );
    const volume = restored?.volume ?? firstVolume;

    // The plugin deletes the old container before it looks for the new one's image: an image that can't be had has to
    // be found out before.
    const image = new docker.RemoteImage(
      `${name}-image`,
      { name: volume ? imageForVolume(settings, volume) : settings.image, keepLocally: true },
      { parent: this },
    );
    const content = pinnedImage(image, settings);
    this.container = new docker.Container(
      `${name}-container`,
      containerArgs({
        ...args,
        prefix,
        labels: labels("postgres"),
        networkName: network.name,
        image: content,
        volume,
      }),
      {
        parent: this,
        // The old container is deleted when its successor's turn comes: not before the data is there.
        dependsOn: [...(volume ? [volume] : []), image, ...(restored ? [restored.filled] : [])],
        deleteBeforeReplace: true,
      },
    );
    const { healthCheck } = settings;
    this.ready = new command.local.Command(
      `${name}-ready`,
      {
        create: "node readiness/await-healthy.ts",
        environment: {
          ...compileCache,
          CONTAINER: this.container.name,
          // Not read: a new container has a new id, and only a changed input makes the command run again. Not a trigger,
          // whose change replaces: protection would refuse that.
          ...(settings.lifetime === "persistent" ? { CONTAINER_ID: this.container.id } : {}),
          TIMEOUT: String(
            healthCheck.startPeriod +
              (healthCheck.interval + healthCheck.timeout) * (healthCheck.retries + 1),
          ),
        },
        ...(settings.lifetime === "ephemeral" ? { triggers: [this.container.id] } : {}),
      },
      { parent: this },
    );
    this.open =
      settings.lifetime === "ephemeral"
        ? this.ready
        : serverConfiguration(
            `${name}-configuration`,
            {
              settings,
              certificate: args.certificate,
              verifiers: args.verifiers,
              containerName: this.container.name,
              containerId: this.container.id,
            },
            { parent: this, dependsOn: [this.ready] },
          );

    this.accessRules = hostBasedAuthentication(settings).trim().split("\n").slice(1);
    if (settings.accessRules.length + settings.programNetworks.length > 0) {
      pulumi.log.info(
        `Who may connect; the first line that fits decides (pg_hba.conf):\n${this.accessRules.join("\n")}`,
        this,
      );
    }
    this.prefix = prefix;
    this.containerName = this.container.name;
    this.networkName = network.name;
    this.volumeName = volume?.name;
    this.image = content;
    this.port =
      settings.port === undefined
        ? this.container.ports.apply((ports) => publishedPort(ports))
        : pulumi.output(settings.port);
    this.registerOutputs();
  }
}

/** Labels of an object of the current stack. */
export function stackObjectLabels(settings: Settings, role: string): { label: string; value: string }[] {
  return objectLabels({
    project: pulumi.getProject(),
    stack: pulumi.getStack(),
    role,
    custom: settings.labels,
  });
}

/** Beginning of the names of a persistent environment's Docker objects. */
export function persistentPrefix(): string {
  return `${pulumi.getProject()}-${pulumi.getStack()}`;
}

/**
 * `<project>-<stack>`, which people can type. In an ephemeral environment a short random ending keeps two checkouts of
 * the project on one host apart; a persistent one must find its volume again by its name.
 */
function objectNamePrefix(name: string, settings: Settings, parent: pulumi.Resource): pulumi.Output<string> {
  const base = persistentPrefix();
  if (settings.lifetime === "persistent") return pulumi.output(base);
  const suffix = new random.RandomId(`${name}-suffix`, { byteLength: 3 }, { parent });
  return pulumi.interpolate`${base}-${suffix.hex}`;
}

/** What `./db list` and `./db prune` know an ephemeral environment by. */
function whereabouts({ keepFor, lifetime }: Settings): { label: string; value: string }[] {
  if (lifetime === "persistent") return [];
  return [
    { label: checkoutLabel, value: formatCheckoutMark(ownCheckout(process.cwd())) },
    ...(keepFor === undefined ? [] : [{ label: keepForLabel, value: keepFor }]),
  ];
}

function publishedPort(ports: { internal: number; external?: number | undefined }[] | undefined): number {
  const external = ports?.find((port) => port.internal === serverPort)?.external;
  if (external === undefined) {
    throw new pulumi.RunError(
      "The server's container has no published port any more. Bring Docker and the stack together again: pulumi up --refresh --run-program",
    );
  }
  return external;
}

interface ContainerParts extends PostgresServerArgs {
  readonly prefix: pulumi.Output<string>;
  readonly labels: { label: string; value: string }[];
  readonly networkName: pulumi.Output<string>;
  readonly image: pulumi.Output<string>;
  readonly volume: docker.Volume | undefined;
}

function containerArgs(parts: ContainerParts): docker.ContainerArgs {
  const { settings, volume } = parts;
  const { mount, dataDirectory } = dataPaths(settings.majorVersion);
  const persistent = settings.lifetime === "persistent";
  const memory = toMebibytes(settings.memory);
  const healthcheck = {
    tests: ["CMD", `${uploadFolder}/healthcheck`],
    interval: goDuration(settings.healthCheck.interval),
    timeout: goDuration(settings.healthCheck.timeout),
    startPeriod: goDuration(settings.healthCheck.startPeriod),
    retries: settings.healthCheck.retries,
  };
  const tmpfs = persistent ? undefined : { [mount]: `size=${settings.tmpfsSize},mode=0755` };
  return {
    name: pulumi.interpolate`${parts.prefix}-postgres`,
    image: parts.image,
    entrypoints: [`${uploadFolder}/entrypoint`],
    command: serverCommand(startParameters(settings)),
    envs: [
      `PGDATA=${dataDirectory}`,
      `DATA_MOUNT=${mount}`,
      `POSTGRES_USER=${settings.superuserName}`,
      persistent
        ? `CONFIGURATION_FOLDER=${configurationFolder(settings)}`
        : `POSTGRES_PASSWORD_FILE=${uploadFolder}/superuser-password`,
      // The init scripts run in the template, so that what they make is in the application's database, which the
      // postgresql provider makes from it, owned by the right role.
      "POSTGRES_DB=template1",
      `POSTGRES_INITDB_ARGS=--data-checksums${persistent ? "" : " --no-sync"}`,
      `HEALTH_ROLE=${roleNames(settings.appName).health}`,
      `HEALTH_DATABASE=${settings.databaseName}`,
      // Seconds; less than what Docker gives a check before it kills it.
      `HEALTH_PATIENCE=${Math.max(0, settings.healthCheck.timeout - 2)}`,
    ],
    uploads: uploads(parts),
    networksAdvanced: [{ name: parts.networkName, aliases: [networkAlias] }],
    ports: [
      {
        internal: serverPort,
        ip: settings.bindAddress,
        ...(settings.port === undefined ? {} : { external: settings.port }),
      },
    ],
    ...(volume ? { volumes: [{ volumeName: volume.name, containerPath: mount }] } : {}),
    ...(tmpfs ? { tmpfs } : {}),
    healthcheck,
    // As process 1, PostgreSQL would be handed every process that loses its parent in the container (a health check
    // that ran out of time, a shell that was closed), take its death for a crashed backend, and end all sessions.
    init: true,
    restart: persistent ? "unless-stopped" : "no",
    // Fast shutdown: sessions are ended, their transactions rolled back, and a checkpoint is written.
    stopSignal: "SIGINT",
    stopTimeout: settings.stopTimeout,
    ...(persistent ? { destroyGraceSeconds: settings.stopTimeout } : {}),
    // The plugin takes a missing memorySwap for a change at every run; the same value means: no swap.
    memory,
    memorySwap: memory,
    ...cpuLimit(settings.cpus),
    shmSize: Math.max(1, toMebibytes(settings.shmSize)),
    logDriver: "json-file",
    logOpts: { "max-size": "10m", "max-file": "5" },
    labels: [
      ...parts.labels,
      // The plugin takes a changed health check or tmpfs for done without telling Docker; a changed label makes a
      // new container, which has them. Inside an ephemeral one nothing is dropped by SQL: other names or extensions
      // make a new one too.
      {
        label: configurationLabel,
        value: digest({
          healthcheck,
          tmpfs,
          ...(persistent
            ? {}
            : {
                app: settings.appName,
                database: settings.databaseName,
                schema: settings.schemaName,
                extensions: settings.extensions,
                ...(settings.restore ? { restore: settings.restore } : {}),
              }),
        }),
      },
    ],
  };
}

/** As share of a period, in microseconds: the plugin's own `cpus` comes back in another spelling, as a change. */
export function cpuLimit(cores: number | undefined): { cpuPeriod?: number; cpuQuota?: number } {
  const period = 100_000;
  return cores === undefined ? {} : { cpuPeriod: period, cpuQuota: Math.round(cores * period) };
}

/** Seconds as Docker's API gives them back (Go's time.Duration): another spelling is a change after a refresh. */
export function goDuration(seconds: number): string {
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = `${seconds % 60}s`;
  if (hours > 0) return `${hours}h${minutes}m${rest}`;
  return minutes > 0 ? `${minutes}m${rest}` : rest;
}

/** Checks the image against the volume's data, also in preview: the volume's label keeps the version it was made by. */
function imageForVolume(settings: Settings, volume: docker.Volume): pulumi.Output<string> {
  return volume.labels.apply((labels) => {
    const made = labels?.find(({ label }) => label === majorVersionLabel)?.value;
    if (made !== undefined && made !== String(settings.majorVersion)) {
      throw new pulumi.RunError(
        `image: ${settings.image} is PostgreSQL ${settings.majorVersion}, but the volume's data was made by PostgreSQL ${made}, and a server does not start on another version's data. ` +
          `Set the image back to PostgreSQL ${made}, or upgrade: pulumi config set upgradeFrom ${made} (docs/operations.md, «Another major version»).`,
      );
    }
    return settings.image;
  });
}

function uploads(parts: ContainerParts): docker.types.input.ContainerUpload[] {
  const { settings } = parts;
  const file = (name: string, content: pulumi.Input<string>, permissions = "0600") => ({
    file: `${uploadFolder}/${name}`,
    content,
    permissions,
  });
  const script = (name: string) => readFileSync(new URL(`container/${name}`, import.meta.url), "utf8");
  const { appName, superuserName } = settings;
  return [
    file("entrypoint", script("entrypoint"), "0755"),
    file("healthcheck", script("healthcheck"), "0755"),
    file(fileNames.ident, identityMap(superuserName)),
    file("bootstrap.sql", bootstrapOf(settings)),
    // What can change comes into the running server, and is in no upload, whose change would make a new container.
    ...(settings.lifetime === "persistent"
      ? [
          file(fileNames.configuration, firstConfiguration(settings)),
          file(fileNames.hba, closedAuthentication({ appName, superuserName })),
        ]
      : [
          file(fileNames.hba, hostBasedAuthentication(settings)),
          file("superuser-password", parts.superuserPassword),
        ]),
    {
      file: "/docker-entrypoint-initdb.d/00-postgresql-environment.sh",
      content: script("bootstrap-init.sh"),
      permissions: "0644",
    },
    ...initScripts(settings).map(({ name, contentBase64, executable }) => ({
      file: `/docker-entrypoint-initdb.d/${name}`,
      contentBase64,
      permissions: executable ? "0755" : "0644",
    })),
  ];
}

function initScripts(settings: Settings): InitScript[] {
  try {
    return readInitScripts(settings.initdbFolder);
  } catch (error) {
    if (error instanceof InitScriptsError) throw new pulumi.RunError(error.message);
    throw error;
  }
}
