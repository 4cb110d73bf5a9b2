import { X509Certificate } from "node:crypto";
import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import { objectLabels } from "../labels.ts";
import type { MajorVersion } from "../settings/image.ts";
import type { MonitoringProgram, MonitoringSettings } from "../settings.ts";
import {
  exporterCommand,
  exporterEnvironment,
  exporterFiles,
  exporterPort,
  nodeExporterCommand,
  nodeExporterPort,
  volumesFolder,
} from "./exporters.ts";
import { grafanaConfiguration, grafanaFiles, grafanaFolder, provisioning } from "./grafana.ts";
import {
  dashboardFiles,
  grafanaPort,
  prometheusCommand,
  prometheusConfiguration,
  prometheusFolder,
  prometheusPort,
  ruleFiles,
} from "./prometheus.ts";
import { ownQueries } from "./queries.ts";

type Disks = Readonly<Record<string, Pick<docker.types.input.ContainerVolume, "volumeName" | "hostPath">>>;

export interface MonitoringArgs {
  readonly settings: MonitoringSettings;
  /** Labels on every Docker object, beside the program's own. */
  readonly labels: Readonly<Record<string, string>>;
  /** Address of the Docker host for what is published. */
  readonly bindAddress: string;
  /** Name by which the Docker host is reached. */
  readonly host: string;
  /** `<project>-<stack>`, before the `-` of every Docker object's name. */
  readonly prefix: pulumi.Output<string>;
  readonly networkName: pulumi.Output<string>;
  /** Volumes and folders whose disks are watched, by the name that alerts and dashboards call them. */
  readonly disks: Disks;
  /** The server, as a container in the network reaches it. */
  readonly server: {
    readonly host: string;
    readonly port: number;
    readonly majorVersion: MajorVersion;
    readonly database: string;
  };
  readonly user: string;
  readonly password: pulumi.Output<string>;
  readonly tls:
    | {
        /** PEM, as is the certificate. */
        readonly ca: pulumi.Output<string>;
        readonly certificate: pulumi.Output<string>;
        /** Whether the team brought it along. */
        readonly own: boolean;
      }
    | undefined;
  /** In seconds: how often a backup is taken, and a restore is tried. Alerts come at twice and three times that age. */
  readonly backupEvery: number;
  readonly drillEvery: number;
  /** Must be done before anything connects. */
  readonly after: readonly pulumi.Resource[];
}

/** Where one of the programs is reached; undefined: not from there. */
export interface MonitoringAddress {
  /** From a container in the environment's network. */
  readonly network: string;
  /** From the Docker host and whoever reaches it. */
  readonly host: string | undefined;
}

/** What watches the environment: exporters, and by setting Prometheus and Grafana. None of it keeps the server's data. */
export class Monitoring extends pulumi.ComponentResource {
  readonly addresses: Readonly<Record<string, MonitoringAddress>>;
  /** Of Grafana's user `admin`, a secret; undefined: there is no Grafana. */
  readonly grafanaPassword: pulumi.Output<string> | undefined;

  private readonly componentName: string;
  private readonly args: MonitoringArgs;

  constructor(name: string, args: MonitoringArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:Monitoring", name, {}, opts);
    this.componentName = name;
    this.args = args;
    const { exporter, grafana, nodeExporter, prometheus } = args.settings;

    const addresses: Record<string, MonitoringAddress> = {
      exporter: this.address("exporter", exporterPort, exporter),
      nodeExporter: this.address("node-exporter", nodeExporterPort, nodeExporter),
    };
    const metrics = prometheus ? this.createVolume() : undefined;
    const disks = { ...args.disks, ...(metrics ? { metrics: { volumeName: metrics.name } } : {}) };
    this.createExporter(exporter);
    this.createNodeExporter(nodeExporter, disks);
    if (prometheus && metrics) {
      addresses.prometheus = this.address("prometheus", prometheusPort, prometheus);
      this.createPrometheus(prometheus, metrics);
    }
    if (grafana) {
      addresses.grafana = this.address("grafana", grafanaPort, grafana);
      this.grafanaPassword = grafana.password ?? this.generatePassword();
      this.createGrafana(grafana, this.grafanaPassword);
    }
    this.addresses = addresses;
    this.registerOutputs();
  }

  private address(alias: string, internal: number, { port }: MonitoringProgram): MonitoringAddress {
    const { host } = this.args;
    return {
      network: `http://${alias}:${internal}`,
      host: port === undefined ? undefined : `http://${host.includes(":") ? `[${host}]` : host}:${port}`,
    };
  }

  private createExporter(program: MonitoringProgram): void {
    const { backupEvery, drillEvery, password, server, tls, user } = this.args;
    const queries = pulumi.output(tls?.certificate).apply((pem) =>
      ownQueries({
        backupEvery,
        drillEvery,
        certificateExpires: pem === undefined ? undefined : endOf(pem),
      }),
    );
    this.createContainer("exporter", program, exporterPort, {
      command: exporterCommand(server.majorVersion),
      envs: exporterEnvironment({
        user,
        ...server,
        tls: tls !== undefined,
        ownCertificate: tls?.own ?? false,
      }),
      // The image's user is nobody, and uploads belong to root: 0600 would make root of the exporter. Nobody but the
      // exporter is in this container, and on the host only root gets at its files.
      uploads: [
        upload(exporterFiles.password, password),
        upload(exporterFiles.queries, queries),
        upload(exporterFiles.config, "{}\n"),
        ...(tls ? [upload(exporterFiles.ca, tls.ca)] : []),
      ],
      memory: 128,
    });
  }

  private createNodeExporter(program: MonitoringProgram, disks: Disks): void {
    this.createContainer("node-exporter", program, nodeExporterPort, {
      command: [...nodeExporterCommand],
      // It asks how full their disk is, and could not read a file of the server's anyway.
      volumes: Object.entries(disks).map(([key, place]) => ({
        ...place,
        containerPath: `${volumesFolder}/${key}`,
        readOnly: true,
      })),
      memory: 64,
    });
  }

  private createVolume(): docker.Volume {
    return new docker.Volume(
      `${this.componentName}-metrics`,
      { name: pulumi.interpolate`${this.args.prefix}-metrics`, labels: this.labels("metrics") },
      // Kept when the setting is taken back: it costs a little space, and a month of numbers can't be had again. Docker
      // can't change a volume's labels.
      { ...this.options(), retainOnDelete: true, ignoreChanges: ["labels"] },
    );
  }

  private createPrometheus(
    program: NonNullable<MonitoringSettings["prometheus"]>,
    metrics: docker.Volume,
  ): void {
    const configuration = prometheusConfiguration({
      labels: { project: pulumi.getProject(), stack: pulumi.getStack() },
      alertmanager: program.alertmanager,
    });
    this.createContainer("prometheus", program, prometheusPort, {
      command: prometheusCommand(program),
      volumes: [{ volumeName: metrics.name, containerPath: "/prometheus" }],
      uploads: [
        upload(`${prometheusFolder}/prometheus.yml`, configuration),
        ...ruleFiles().map(({ name, text }) => upload(`${prometheusFolder}/rules/${name}`, text)),
      ],
      // The image has promtool, and need not have a shell.
      healthcheck: {
        tests: ["CMD", "promtool", "check", "ready"],
        interval: "30s",
        timeout: "10s",
        startPeriod: "2m0s",
        retries: 3,
      },
      memory: 512,
    });
  }

  private createGrafana(program: MonitoringProgram, password: pulumi.Output<string>): void {
    this.createContainer("grafana", program, grafanaPort, {
      uploads: [
        // Its user is in root's group.
        upload(grafanaFiles.password, password, "0440"),
        upload(grafanaFiles.configuration, grafanaConfiguration),
        ...Object.entries(provisioning).map(([path, text]) =>
          upload(`${grafanaFolder}/provisioning/${path}`, text),
        ),
        ...dashboardFiles().map(({ name, text }) => upload(`${grafanaFiles.dashboards}/${name}`, text)),
      ],
      memory: 512,
    });
  }

  private generatePassword(): pulumi.Output<string> {
    const name = `${this.componentName}-grafana-password`;
    return new random.RandomPassword(name, { length: 40, special: false }, this.options()).result;
  }

  /** A container in the environment's network, by the name of its role. */
  private createContainer(
    role: string,
    { image, port }: MonitoringProgram,
    internal: number,
    args: Omit<docker.ContainerArgs, "image" | "memory"> & { memory: number },
  ): docker.Container {
    const { after, bindAddress, networkName, prefix } = this.args;
    const found = new docker.RemoteImage(
      `${this.componentName}-${role}-image`,
      { name: image, keepLocally: true },
      this.options(),
    );
    return new docker.Container(
      `${this.componentName}-${role}`,
      {
        ...args,
        name: pulumi.interpolate`${prefix}-${role}`,
        // By its content: a tag that moves changes no container.
        image: found.imageId,
        networksAdvanced: [{ name: networkName, aliases: [role] }],
        ...(port === undefined ? {} : { ports: [{ internal, external: port, ip: bindAddress }] }),
        restart: "unless-stopped",
        capabilities: { drops: ["ALL"] },
        securityOpts: ["no-new-privileges:true"],
        // The plugin takes a missing memorySwap for a change at every run; the same value means: no swap.
        memorySwap: args.memory,
        logDriver: "json-file",
        logOpts: { "max-size": "10m", "max-file": "3" },
        labels: this.labels(role),
      },
      { ...this.options(), dependsOn: [found, ...after], deleteBeforeReplace: true },
    );
  }

  private labels(role: string): { label: string; value: string }[] {
    return objectLabels({
      project: pulumi.getProject(),
      stack: pulumi.getStack(),
      role,
      custom: this.args.labels,
    });
  }

  private options(): pulumi.CustomResourceOptions {
    // Never protected: the setting can be taken back, and nothing that the environment is for is in here.
    return { parent: this, protect: false };
  }
}

function upload(
  file: string,
  content: pulumi.Input<string>,
  permissions = "0444",
): docker.types.input.ContainerUpload {
  return { file, content, permissions };
}

/** When a certificate ends; undefined: it can't be told. */
function endOf(pem: string): Date | undefined {
  try {
    return new X509Certificate(pem).validToDate;
  } catch {
    return undefined;
  }
}
