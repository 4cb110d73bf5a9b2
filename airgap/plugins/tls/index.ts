import { servePlugin } from "../common/plugin.ts";
import { certRequest } from "./cert-request.ts";
import { locallySignedCert } from "./locally-signed-cert.ts";
import { privateKey } from "./private-key.ts";
import { selfSignedCert } from "./self-signed-cert.ts";

servePlugin({
  name: "tls",
  version: "5.6.1",
  base: "framework",
  config: {},
  configure: () => undefined,
  resources: [privateKey, certRequest, selfSignedCert, locallySignedCert],
});
