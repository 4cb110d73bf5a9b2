import { servePlugin } from "../common/plugin.ts";
import { randomId } from "./id.ts";
import { randomPassword } from "./password.ts";

servePlugin({
  name: "random",
  version: "4.21.2",
  base: "framework",
  config: {},
  configure: () => undefined,
  resources: [randomId, randomPassword],
});
