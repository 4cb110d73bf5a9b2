import { servePlugin } from "../common/plugin.ts";
import { container } from "./container.ts";
import { type Engine, openEngine } from "./engine.ts";
import { network } from "./network.ts";
import { remoteImage } from "./remote-image.ts";
import { volume } from "./volume.ts";

servePlugin<Engine>({
  name: "docker",
  version: "5.2.0",
  base: "sdk",
  config: {
    host: {
      kind: "string",
      default: () => process.env.DOCKER_HOST || "unix:///var/run/docker.sock",
    },
    context: { kind: "string", default: () => process.env.DOCKER_CONTEXT || undefined },
  },
  configure: (config) => openEngine(String(config.host), config.context?.toString()),
  resources: [container, network, remoteImage, volume],
});
