import { isIP, isIPv4 } from "node:net";

/** Logins that a rule can be about; the superuser's way in is none of the settings' rules. */
export const accessRoles = ["app", "readonly", "migrator", "monitor", "backup"] as const;
export type AccessRole = (typeof accessRoles)[number];

/** Who may connect to which database from where: one rule of the setting `accessRules`. */
export interface AccessRule {
  readonly role: AccessRole;
  /** Undefined: the application's; of `backup`, replication too. */
  readonly database: string | undefined;
  /** In CIDR notation, or `network`: the stack's own network and the Docker host. */
  readonly address: string;
  readonly method: "password" | "reject";
}

/** Logins that can be kept from the stack's own network; the program itself and its containers use the others there. */
const shutOut: ReadonlySet<AccessRole> = new Set(["app", "readonly"]);

const keys = ["role", "database", "address", "method"];
const example = "accessRules: [{role: app, address: 10.1.0.0/16}]";

/**
 * Reads the setting, rule by rule.
 *
 * @returns Every mistake, with the number of its rule.
 */
export function parseAccessRules(given: readonly unknown[]): { rules: AccessRule[]; mistakes: string[] } {
  const mistakes: string[] = [];
  const seen = new Map<string, number>();
  const rules = given.flatMap((entry, index) => {
    const reject = (text: string) => {
      mistakes.push(
        `accessRules: rule ${index + 1}, ${JSON.stringify(entry)}, ${text}. Fix: correct it in the stack's file, for example ${example}`,
      );
      return [];
    };
    if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
      return reject(`is no map of ${keys.join(", ")}`);
    }
    const unknown = Object.keys(entry).find((key) => !keys.includes(key));
    if (unknown !== undefined) return reject(`has the key ${unknown}, expected ${keys.join(", ")}`);
    const { role, database, address, method = "password" } = entry as Record<string, unknown>;
    const known = accessRoles.find((each) => each === role);
    if (known === undefined) return reject(`has no role that there is, expected ${accessRoles.join(", ")}`);
    // Beside the application's, which needs not be named, there are few, and their names are plain.
    if (
      database !== undefined &&
      (typeof database !== "string" || !/^[\p{L}_][\p{L}\p{N}_$-]*$/u.test(database))
    ) {
      return reject("has a database that is no plain name");
    }
    if (method !== "password" && method !== "reject") {
      return reject("has a method other than password and reject");
    }
    const range = typeof address === "string" ? parseRange(address) : "missing";
    if (typeof range === "string") {
      return reject(
        `has ${range === "missing" ? "no address" : `an address that ${range}`}, expected network, an IP address, or a range such as 10.1.0.0/16`,
      );
    }
    if (method === "reject" && range.address === "network" && !shutOut.has(known)) {
      return reject("would have no effect: from there, this login is let in before any rule is looked at");
    }
    const rule: AccessRule = { role: known, database, address: range.address, method };
    const text = JSON.stringify([rule.role, rule.database, rule.address]);
    const first = seen.get(text);
    if (first !== undefined) return reject(`is about the same as rule ${first}, which decides`);
    seen.set(text, index + 1);
    return [rule];
  });
  return { rules, mistakes };
}

/** Checks addresses of the setting `programNetworks`. */
export function parseNetworks(given: readonly string[]): { networks: string[]; mistakes: string[] } {
  const parsed = given.map((text) => ({
    text,
    range: text === "network" ? "is let in anyway" : parseRange(text),
  }));
  return {
    networks: parsed.flatMap(({ range }) => (typeof range === "string" ? [] : [range.address])),
    mistakes: parsed.flatMap(({ range, text }) =>
      typeof range === "string"
        ? [
            `programNetworks: ${JSON.stringify(text)} ${range}, expected IP addresses, or ranges such as 10.1.0.0/16. Fix: correct it in the stack's file, for example programNetworks: [10.1.2.3]`,
          ]
        : [],
    ),
  };
}

/** @returns What is wrong with it, as the end of a sentence. */
function parseRange(text: string): { address: string } | string {
  if (text === "network") return { address: text };
  const [, address = "", prefix] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const version = isIP(address);
  // A name would let in whoever the name server says it is.
  if (version === 0 || address.includes("%")) return "is neither an IP address nor a range";
  const length = version === 4 ? 32 : 128;
  const bits = prefix === undefined ? length : Number(prefix);
  if (bits > length) return `has a prefix above ${length}`;
  if (!isZeroBeyond(address, bits)) return `has more bits than its prefix of ${bits}`;
  return { address: `${address}/${bits}` };
}

/** PostgreSQL would take such a range, for a smaller or larger one than the writer may think. */
function isZeroBeyond(address: string, prefix: number): boolean {
  const bytes = isIPv4(address) ? address.split(".").map(Number) : ipv6Bytes(address);
  return bytes.every((byte, index) => {
    const kept = Math.max(0, Math.min(8, prefix - index * 8));
    return (byte & (0xff >> kept)) === 0;
  });
}

function ipv6Bytes(address: string): number[] {
  const [head = "", tail] = address.split("::");
  const groups = (text: string) => (text === "" ? [] : text.split(":").flatMap(groupBytes));
  const [first, last] = [groups(head), groups(tail ?? "")];
  return [...first, ...Array.from({ length: 16 - first.length - last.length }, () => 0), ...last];
}

/** The last group may be an IPv4 address. */
function groupBytes(group: string): number[] {
  if (group.includes(".")) return group.split(".").map(Number);
  const value = Number.parseInt(group, 16);
  return [value >> 8, value & 0xff];
}

/** Whether only the host itself reaches a port that is published there. */
export function isLoopback(address: string): boolean {
  return address === "::1" || (isIPv4(address) && address.startsWith("127."));
}

/** Whether a port that is published there is on every address of the host. */
export function isAnyAddress(address: string): boolean {
  return address === "0.0.0.0" || (!isIPv4(address) && ipv6Bytes(address).every((byte) => byte === 0));
}
