import { randomBytes } from "node:crypto";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import Docker from "dockerode";
import type { Properties } from "../../../airgap/plugins/common/values.ts";
import { testLabel, testRun } from "../../support/docker.ts";
import { PluginClient, type StartOptions } from "../common/client.ts";

const main = fileURLToPath(new URL("../../../airgap/plugins/docker/index.ts", import.meta.url));

/** The image of the environments themselves: here only its shell is of use. */
export const image = "postgres:17-trixie";

export const tokens = {
  container: "docker:index/container:Container",
  network: "docker:index/network:Network",
  volume: "docker:index/volume:Volume",
  image: "docker:index/remoteImage:RemoteImage",
};

export interface Made {
  id: string;
  inputs: Properties;
  outputs: Properties;
}

/** A plugin on the real engine, with names and labels of its own, so that all it made can be removed again. */
export class Sandbox {
  readonly plugin: PluginClient;
  readonly docker = new Docker();
  readonly id = `docker-plugin-${randomBytes(4).toString("hex")}`;
  readonly labels: { label: string; value: string }[];

  private constructor(plugin: PluginClient) {
    this.plugin = plugin;
    this.labels = [
      { label: testLabel, value: testRun },
      { label: "postgresql-environments.test-run", value: this.id },
    ];
  }

  static async open(options?: StartOptions): Promise<Sandbox> {
    return new Sandbox(await PluginClient.start(main, options));
  }

  name(suffix: string): string {
    return `${this.id}-${suffix}`;
  }

  async check(token: string, news: Properties, olds: Properties = {}): Promise<Properties> {
    const { inputs, failures } = await this.plugin.check(token, news, olds);
    if (failures.length > 0) throw new Error(failures.join("\n"));
    return inputs;
  }

  /** Checks and creates, as the engine does. */
  async make(token: string, news: Properties): Promise<Made> {
    const inputs = await this.check(token, { labels: this.labels, ...news });
    return { inputs, ...(await this.plugin.create(token, inputs)) };
  }

  /** A container that sleeps, unless the properties say otherwise. */
  container(name: string, news: Properties = {}): Promise<Made> {
    return this.make(tokens.container, {
      name: this.name(name),
      image,
      entrypoints: ["sleep"],
      command: ["600"],
      ...news,
    });
  }

  volume(name: string): Promise<Made> {
    return this.make(tokens.volume, { name: this.name(name) });
  }

  network(name: string): Promise<Made> {
    return this.make(tokens.network, { name: this.name(name) });
  }

  inspect(id: string): Promise<Docker.ContainerInspectInfo> {
    return this.docker.getContainer(id).inspect();
  }

  /** What a command prints in a container, and its exit code. */
  async run(id: string, ...command: string[]): Promise<{ code: number; output: string }> {
    const exec = await this.docker
      .getContainer(id)
      .exec({ Cmd: command, User: "root", AttachStdout: true, AttachStderr: true });
    const stream = await exec.start({});
    const chunks: Buffer[] = [];
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        chunks.push(chunk);
        done();
      },
    });
    this.docker.modem.demuxStream(stream, sink, sink);
    await new Promise((resolve) => stream.once("end", resolve));
    const { ExitCode } = await exec.inspect();
    return { code: ExitCode ?? -1, output: Buffer.concat(chunks).toString().trim() };
  }

  /** What a change of inputs would do to something that was made. */
  async change(token: string, made: Made, news: Properties): Promise<"none" | "update" | "replace"> {
    const before = Object.fromEntries(Object.entries(made.inputs).filter(([name]) => name !== "__defaults"));
    const defaults = made.inputs.__defaults as string[];
    for (const name of defaults) delete before[name];
    const merged: Properties = { ...before, ...news };
    for (const name of Object.keys(merged)) if (news[name] === null) delete merged[name];
    const inputs = await this.check(token, merged, made.inputs);
    const { changes, replaces } = await this.plugin.diff(token, made.outputs, inputs);
    if (!changes) return "none";
    return replaces.length > 0 ? "replace" : "update";
  }

  async close(): Promise<void> {
    this.plugin.stop();
    const filters = { label: [`postgresql-environments.test-run=${this.id}`] };
    for (const { Id } of await this.docker.listContainers({ all: true, filters })) {
      await this.docker.getContainer(Id).remove({ force: true, v: true });
    }
    for (const { Id } of await this.docker.listNetworks({ filters })) {
      await this.docker.getNetwork(Id).remove();
    }
    for (const { Name } of (await this.docker.listVolumes({ filters })).Volumes) {
      await this.docker.getVolume(Name).remove();
    }
  }
}
