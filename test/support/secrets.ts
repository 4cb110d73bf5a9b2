import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { Deployment } from "./project.ts";

const run = promisify(execFile);

/**
 * Every password and private key that a deployment has generated.
 * @param deployment exported with `--show-secrets`
 */
export function generatedSecrets({ resources }: Deployment): string[] {
  return resources.flatMap(({ type, outputs = {} }) => {
    if (type === "random:index/randomPassword:RandomPassword") return [plaintext(outputs.result)];
    // One line of a key is enough to know it by, and is the same in every encoding of line breaks.
    if (type === "tls:index/privateKey:PrivateKey") {
      return [plaintext(outputs.privateKeyPem).split("\n")[1] ?? ""];
    }
    return [];
  });
}

function plaintext(value: unknown): string {
  return JSON.parse((value as { plaintext: string }).plaintext);
}

/** Which of the secrets stand in a text as they are. */
export function exposed(secrets: readonly string[], text: string): string[] {
  return secrets.filter((secret) => text.includes(secret));
}

/** Every file below a folder, one after the other. */
export function allText(folder: string): string {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"))
    .join("\n");
}

/** Notes every command line on this machine, those inside containers included, until it is stopped. */
export function watchProcesses(): { stop(): Promise<string> } {
  const seen = new Set<string>();
  let watching = true;
  const done = (async () => {
    while (watching) {
      const { stdout } = await run("ps", ["-Awwo", "args="], { maxBuffer: 64 * 1024 ** 2 });
      for (const line of stdout.split("\n")) seen.add(line);
      await sleep(50);
    }
  })();
  return {
    async stop() {
      watching = false;
      await done;
      return [...seen].join("\n");
    },
  };
}
