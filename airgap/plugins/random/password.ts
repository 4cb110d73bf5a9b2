import { randomBytes, randomInt } from "node:crypto";
import type { CheckResult, ResourceDefinition, State } from "../common/plugin.ts";
import { type Properties, plain, UNKNOWN } from "../common/values.ts";

const on = { kind: "boolean", default: true, forceNew: true } as const;
const minimum = { kind: "integer", default: 0, forceNew: true } as const;

/** random.RandomPassword: a string from a cryptographic random source, made once and kept in the state. */
export const randomPassword: ResourceDefinition<undefined> = {
  token: "random:index/randomPassword:RandomPassword",
  schemaVersion: 3,
  properties: {
    keepers: { kind: "map", forceNew: true },
    length: {
      kind: "integer",
      required: true,
      forceNew: true,
      validate: (length) =>
        typeof length === "number" && length < 1
          ? `Invalid Attribute Value. Attribute length value must be at least 1, got: ${length}`
          : undefined,
    },
    special: on,
    upper: on,
    lower: on,
    // `number` is the old name of `numeric`: each follows the one that is given.
    number: { kind: "boolean", computed: true, forceNew: true },
    numeric: { kind: "boolean", computed: true, forceNew: true },
    minNumeric: minimum,
    minUpper: minimum,
    minLower: minimum,
    minSpecial: minimum,
    overrideSpecial: { kind: "string", forceNew: true },
    result: { kind: "string", secret: true, computed: true, input: false },
    bcryptHash: { kind: "string", secret: true, computed: true, input: false },
  },
  check: (result) => ({ ...result, failures: [...result.failures, ...combinationFailures(result)] }),
  diff: (result, state, inputs) => {
    for (const [name, value] of Object.entries(numericPair(inputs))) {
      if (value !== state[name]) result.detailedDiff[name] = "UPDATE_REPLACE";
    }
    return result;
  },
  preview: (proposed, _state, inputs) => ({ ...proposed, ...numericPair(inputs) }),
  create: async (inputs) => {
    const result = makePassword(inputs);
    return passwordState(result, withDefaults(inputs));
  },
  read: async (id, state) => {
    if (Object.keys(state).length > 0) return { id, outputs: state };
    // An import's id is the password itself.
    const outputs = withDefaults({ length: Buffer.byteLength(id) });
    return passwordState(id, outputs);
  },
  // Nothing that is changed in place changes the password.
  update: async (_id, state, inputs) => ({ ...state, ...withDefaults(inputs) }),
  delete: async () => {},
};

function withDefaults(inputs: Properties): Properties {
  const standard = { special: true, upper: true, lower: true };
  const minimums = { minNumeric: 0, minUpper: 0, minLower: 0, minSpecial: 0 };
  return { ...standard, ...minimums, ...inputs, ...numericPair(inputs) };
}

function numericPair({ number, numeric }: Properties): Properties {
  const value = numeric ?? number ?? true;
  return { number: value, numeric: value };
}

async function passwordState(result: string, outputs: Properties): Promise<State> {
  return { id: "none", outputs: { ...outputs, result, bcryptHash: await bcryptHash(result) } };
}

function combinationFailures({ inputs }: CheckResult): CheckResult["failures"] {
  const values = plain(inputs);
  const failures: CheckResult["failures"] = [];
  const minimums = ["minUpper", "minLower", "minNumeric", "minSpecial"].map((name) => values[name] ?? 0);
  const sum = minimums.reduce<number>((total, value) => total + (typeof value === "number" ? value : 0), 0);
  const known = !minimums.includes(UNKNOWN) && typeof values.length === "number";
  if (known && Number(values.length) < sum) {
    failures.push({
      property: "length",
      reason:
        "Invalid Attribute Value. Attribute length value must be at least sum of min_upper + min_lower + " +
        `min_numeric + min_special, got: ${values.length}`,
    });
  }
  const { number, numeric } = values;
  if (typeof number === "boolean" && typeof numeric === "boolean" && number !== numeric) {
    failures.push({
      property: "number",
      reason:
        "Number and numeric are both configured with different values. " +
        "Number is deprecated, use numeric instead",
    });
  }
  for (const name of ["number", "numeric"]) {
    if ([name, "special", "upper", "lower"].some((other) => values[other] !== false)) continue;
    failures.push({
      property: name,
      reason:
        `Invalid Attribute Combination. At least one attribute out of [special,upper,lower,${name}] ` +
        "must be specified as true",
    });
  }
  return failures;
}

/** Characters of each class: first as many as its minimum asks for, then the rest from all of them, shuffled. */
export function makePassword(inputs: Properties): string {
  const all = withDefaults(inputs);
  const overridden = all.overrideSpecial;
  const classes = [
    { enabled: all.upper, minimum: all.minUpper, characters: "ABCDEFGHIJKLMNOPQRSTUVWXYZ" },
    { enabled: all.lower, minimum: all.minLower, characters: "abcdefghijklmnopqrstuvwxyz" },
    { enabled: all.numeric, minimum: all.minNumeric, characters: "0123456789" },
    {
      enabled: all.special,
      minimum: all.minSpecial,
      characters: typeof overridden === "string" && overridden !== "" ? overridden : "!@#$%&*()-_=+[]{}<>:?",
    },
  ].map((kind) => ({ ...kind, characters: [...kind.characters] }));
  const allowed = classes.filter((kind) => kind.enabled === true).flatMap((kind) => kind.characters);
  if (allowed.length === 0) throw new Error("the character set specified is empty");
  const pick = (characters: string[]) => characters[randomInt(characters.length)] ?? "";
  const result = classes.flatMap((kind) =>
    Array.from({ length: Number(kind.minimum) }, () => pick(kind.characters)),
  );
  while (result.length < Number(all.length)) result.push(pick(allowed));
  return shuffle(result).join("");
}

function shuffle<T>(items: T[]): T[] {
  const keyed = items.map((item) => ({ item, key: randomBytes(8).readBigUInt64BE() }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ item }) => item);
}

/** A hash of the first 72 bytes, with the genuine plugin's prefix and cost. */
async function bcryptHash(password: string): Promise<string> {
  // Loaded here: only the making of a password needs it. Compiled, and in threads of its own: in JavaScript, each hash
  // would keep the plugin from answering for as long, and the engine waits for one answer after the other.
  const { default: bcrypt } = await import("bcrypt");
  const salt = await bcrypt.genSalt(10);
  return bcrypt.hash(password, salt.replace(/^\$2.\$/, "$2a$"));
}
