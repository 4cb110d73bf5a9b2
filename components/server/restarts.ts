import { readFileSync } from "node:fs";
import type * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import { previousOutputs } from "../previous-outputs.ts";
import { isWithin, type TimeWindow } from "../settings/time-window.ts";
import type { Settings } from "../settings.ts";
import { bootstrapOf } from "./bootstrap.ts";
import { digest } from "./digest.ts";
import { InitScriptsError, readInitScripts } from "./init-scripts.ts";
import { startParameters } from "./server-settings.ts";

/** What the server's container is made with, and cannot be given while it runs: by name, as people read it. */
export type StartFacts = Readonly<Record<string, string>>;

/** @param project what the folder of the init scripts is relative to */
export function startFacts(settings: Settings, project = ""): StartFacts {
  const { config_file: _, hba_file: __, ident_file: ___, ...parameters } = startParameters(settings);
  const { interval, retries, startPeriod, timeout } = settings.healthCheck;
  const file = (name: string) => readFileSync(new URL(`container/${name}`, import.meta.url), "utf8");
  return {
    ...parameters,
    image: settings.image,
    port: `${settings.bindAddress}:${settings.port ?? ""}`,
    shmSize: String(settings.shmSize),
    cpus: String(settings.cpus ?? "no limit"),
    healthCheck: `${interval}/${timeout}/${startPeriod}/${retries}`,
    labels: digest(settings.labels),
    names: [settings.superuserName, settings.appName, settings.databaseName].join(" "),
    initdbFolder: digest(readInitScripts(settings.initdbFolder, project)),
    program: digest([
      ...["entrypoint", "healthcheck", "bootstrap-init.sh"].map(file),
      bootstrapOf(settings),
      // Not in a file: environments of the time before have a container by the tag, and get another one.
      "the image by its id",
    ]),
  };
}

/** The differences, each as people read it. */
export function restartReasons(before: StartFacts, after: StartFacts): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return names
    .filter((name) => before[name] !== after[name])
    .map((name) => {
      // A hash tells nobody anything.
      const short = ["labels", "initdbFolder", "program"].includes(name);
      return short
        ? `${name} changed`
        : `${name} ${before[name] ?? "(default)"} → ${after[name] ?? "(default)"}`;
    });
}

/** What is to be said about a restart; `refusal` stops an update. */
export function judgeRestart(
  reasons: readonly string[],
  window: TimeWindow | undefined,
  now: Date,
): { notice: string; refusal?: string } | undefined {
  if (reasons.length === 0) return undefined;
  const what = `The server will be restarted once, in a new container, for: ${reasons.join(", ")}`;
  if (window === undefined || isWithin(window, now)) {
    return { notice: `${what}. Sessions end; new ones are taken a few seconds later.` };
  }
  const refusal = `This needs a restart of the server (${reasons.join(", ")}), and it is ${now.toISOString().slice(0, 16)}Z, outside restartWindow (${window.text} UTC). Run pulumi up again then, or set the setting otherwise: pulumi config rm restartWindow`;
  return {
    notice: `${what}. Now an update refuses that: it is outside restartWindow (${window.text} UTC).`,
    refusal,
  };
}

/**
 * Compares with what the last update left: in a preview, tells that the server will be restarted, and why.
 * @throws pulumi.RunError in an update that needs a restart outside `restartWindow`. Nothing has been changed then.
 * @returns for the next preview; null in an ephemeral environment, whose container is made anew for any change
 */
export async function planRestart(settings: Settings): Promise<StartFacts | null> {
  if (settings.lifetime === "ephemeral") return null;
  const facts = factsOf(settings);
  const { serverStart } = await previousOutputs();
  if (typeof serverStart !== "object" || serverStart === null) return facts;
  const judged = judgeRestart(
    restartReasons(serverStart as StartFacts, facts),
    settings.restartWindow,
    new Date(),
  );
  announce(judged);
  return facts;
}

/** Tells of a restart in a preview. @throws pulumi.RunError in an update that must not have it now */
function announce(judged: ReturnType<typeof judgeRestart>): void {
  if (judged === undefined) return;
  if (pulumi.runtime.isDryRun()) void pulumi.log.warn(judged.notice);
  else if (judged.refusal !== undefined) throw new pulumi.RunError(judged.refusal);
}

/**
 * What a container is made from: in a persistent environment the image's id, which is a digest of its content. A tag can
 * be given to another image, by a `docker pull` on this host; a container that is made anew still gets the one that it
 * had. Only a refresh of the stack takes the tag's new image, and that restart is told and refused like any other.
 * @throws pulumi.RunError in an update that would restart the server for it outside `restartWindow`
 */
export function pinnedImage(image: docker.RemoteImage, settings: Settings): pulumi.Output<string> {
  if (settings.lifetime === "ephemeral") return image.name;
  return image.imageId.apply(async (id) => {
    const before = await previousOutputs();
    const moved =
      before.image === settings.image && typeof before.imageId === "string" && before.imageId !== id;
    const reasons = moved ? [`image ${settings.image} is another one than before`] : [];
    announce(judgeRestart(reasons, settings.restartWindow, new Date()));
    return id;
  });
}

function factsOf(settings: Settings): StartFacts {
  try {
    return startFacts(settings);
  } catch (error) {
    if (error instanceof InitScriptsError) throw new pulumi.RunError(error.message);
    throw error;
  }
}
