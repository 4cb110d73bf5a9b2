import { servePlugin } from "../common/plugin.ts";
import { localCommand } from "./command.ts";

servePlugin({
  name: "command",
  version: "1.2.1",
  base: "native",
  config: {},
  configure: () => undefined,
  resources: [localCommand],
});
