/** A property that may differ between two states although the plugins agree, and why. */
export interface Rule {
  /** Type token, or `*` for all. */
  readonly type: string;
  /** Path in the state; `*` stands for any characters but dots, `**` for any at all. */
  readonly path: string;
  readonly reason: string;
  /**
   * The value turns up in other places too (a password in a connection URL): it is one value there, and has to be
   * the same one in both states. Default: false.
   */
  readonly travels?: true;
  /** One of the states may lack it; where both have it, it has to be the same. Default: false. */
  readonly optional?: true;
}

const randomPassword = "random:index/randomPassword:RandomPassword";
const privateKey = "tls:index/privateKey:PrivateKey";
const certificates = [
  "tls:index/selfSignedCert:SelfSignedCert",
  "tls:index/locallySignedCert:LocallySignedCert",
];
const command = "command:local:Command";
const network = "docker:index/network:Network";
const container = "docker:index/container:Container";

/** What the engine writes of an operation, whichever plugin does it. */
const engine: readonly Rule[] = [
  { type: "*", path: "created", reason: "time" },
  { type: "*", path: "modified", reason: "time" },
  { type: "*", path: "sourcePosition", reason: "place in the program's source" },
  { type: "*", path: "stackTrace**", reason: "place in the program's source" },
];

/** Records that the frameworks of the genuine plugins keep for themselves, and do without where they find none. */
const bookkeeping: readonly Rule[] = [
  {
    type: "*",
    path: "outputs.__pulumi_raw_state_delta**",
    reason: "bookkeeping of the genuine plugins' bridge",
    optional: true,
  },
  ...["inputs", "outputs"].map((side) => ({
    type: "pulumi:providers:command",
    path: `${side}["__pulumi-go-provider-version"]`,
    reason: "version of the genuine plugin's framework",
    optional: true as const,
  })),
];

/** What is another value each time a stack is made, whichever plugins make it. */
const generated: readonly Rule[] = [
  // `pulumi` is the engine's own: the program reads the stack's outputs.
  ...["docker", "postgresql", "random", "tls", "command", "pulumi"].map((provider) =>
    travels(`pulumi:providers:${provider}`, "id", "random id of a provider"),
  ),
  travels(randomPassword, "outputs.result", "generated secret"),
  { type: randomPassword, path: "outputs.bcryptHash", reason: "hash with a random salt" },
  ...["id", "outputs.id", "outputs.hex", "outputs.dec", "outputs.b64Std", "outputs.b64Url"].map((path) =>
    travels("random:index/randomId:RandomId", path, "generated id"),
  ),
  ...["privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh", "publicKeyPem", "publicKeyOpenssh"].map(
    (name) => travels(privateKey, `outputs.${name}`, "generated key"),
  ),
  ...["id", "outputs.publicKeyFingerprintMd5", "outputs.publicKeyFingerprintSha256"].map((path) =>
    travels(privateKey, path, "hash of a generated key"),
  ),
  ...certificates.flatMap((type) => [
    travels(type, "outputs.certPem", "certificate of a generated key"),
    travels(type, "id", "random serial number"),
    travels(type, "outputs.validityEndTime", "time"),
    { type, path: "outputs.validityStartTime", reason: "time" },
  ]),
  ...["id", "outputs.certRequestPem"].map((path) =>
    travels("tls:index/certRequest:CertRequest", path, "request of a generated key"),
  ),
  travels("postgresql:index/role:Role", "inputs.password", "verifier of a generated secret"),
  travels(command, "inputs.environment.PASSWORD_VERIFIERS", "verifiers of generated secrets"),
  { type: "pulumi:pulumi:Stack", path: "outputs.rotation.*.since", reason: "time" },
  travels(command, "id", "random id"),
  { type: command, path: "outputs.std*", reason: "what a command prints can hold times" },
  travels(network, "id", "id given by Docker"),
  ...["subnet", "gateway"].map((name) => ({
    type: network,
    path: `outputs.ipamConfigs[*].${name}`,
    reason: "address range chosen by Docker",
  })),
  travels(container, "id", "id given by Docker"),
  travels(container, "outputs.hostname", "host name made from the id"),
  travels(container, "outputs.ports[*].external", "port chosen by Docker"),
  ...["ipAddress", "ipPrefixLength", "macAddress", "gateway"].map((name) => ({
    type: container,
    path: `outputs.networkDatas[*].${name}`,
    reason: "address chosen by Docker",
  })),
];

function travels(type: string, path: string, reason: string): Rule {
  return { type, path, reason, travels: true };
}

/** For one stack at two times, with nothing made anew in between. */
export const sameStackRules: readonly Rule[] = [...engine, ...bookkeeping];

/** For two stacks made one after the other from the same settings and names. */
export const separateStackRules: readonly Rule[] = [...engine, ...bookkeeping, ...generated];

/** Stands for every place where one side has nothing and the other an empty value: a refresh swaps them. */
export const emptyRule: Rule = {
  type: "*",
  path: "**",
  reason: 'none, null, [], {}, 0, false and "" are all «not set»',
};

export function findRule(rules: readonly Rule[], type: string, path: string): Rule | undefined {
  return rules.find((rule) => (rule.type === "*" || rule.type === type) && matches(rule.path, path));
}

const patterns = new Map<string, RegExp>();

function matches(pattern: string, path: string): boolean {
  let compiled = patterns.get(pattern);
  if (compiled === undefined) {
    const source = pattern
      .split(/(\*+)/)
      .map((part) =>
        part === "**" ? ".*" : part === "*" ? "[^.]*" : part.replace(/[\\^$.+?()[\]{}|]/g, "\\$&"),
      );
    compiled = new RegExp(`^${source.join("")}$`);
    patterns.set(pattern, compiled);
  }
  return compiled.test(path);
}

/** Lists whose order has no meaning, by type token and path below `inputs` or `outputs`. */
const sets: Readonly<Record<string, readonly string[]>> = {
  [container]: [
    "envs",
    "labels",
    "uploads",
    "volumes",
    "mounts",
    "networksAdvanced",
    "networksAdvanced[*].aliases",
    "capabilities.adds",
    "capabilities.drops",
    "ulimits",
    "hosts",
    "groupAdds",
    "securityOpts",
    "dns",
  ],
  [network]: ["labels", "ipamConfigs"],
  "docker:index/volume:Volume": ["labels"],
  "postgresql:index/role:Role": ["roles"],
  "postgresql:index/grant:Grant": ["privileges", "objects", "columns"],
  "postgresql:index/defaultPrivileges:DefaultPrivileges": ["privileges"],
};

export function isSet(type: string, path: string): boolean {
  if (/^(dependencies|propertyDependencies\..*)$/.test(path)) return true;
  const property = /^(?:inputs|outputs)\.(.*)$/.exec(path)?.[1];
  return property !== undefined && (sets[type] ?? []).some((pattern) => matches(pattern, property));
}
