import * as command from "@pulumi/command";
import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import { compileCache } from "../compile-cache.ts";
import { generationLabel, majorVersionLabel, restoredLabel, roleLabel } from "../labels.ts";
import { dataPaths } from "../server/files.ts";
import { toMebibytes } from "../settings/units.ts";
import type { Settings } from "../settings.ts";
import { copyEnvironment } from "./copy-environment.ts";
import { type DataGeneration, dataVolumeName, formatOrigin, formatRestore } from "./data-generation.ts";
import { programEnvironment, repositoryOf } from "./program.ts";

export interface RestoredVolumeArgs {
  readonly settings: Settings;
  readonly data: DataGeneration;
  readonly prefix: string;
  readonly labels: { label: string; value: string }[];
  readonly superuserPassword: pulumi.Output<string>;
  /** By role name: what the logins of the restored data are to have from now on. */
  readonly passwords: Readonly<Record<string, pulumi.Output<string>>>;
  /** Key of the copy off the host; undefined: nothing is backed up. */
  readonly copyKey: pulumi.Output<string> | undefined;
}

/**
 * A volume with data from a backup, or from an older major version. Each restore and upgrade makes another one: what was there before stays as it is, in a volume
 * that Pulumi no longer knows of.
 *
 * Neither resource is protected: the next restore takes them out of the program.
 */
export class RestoredVolume extends pulumi.ComponentResource {
  readonly volume: docker.Volume;
  /** Done when the data is complete. */
  readonly filled: command.local.Command;

  constructor(name: string, args: RestoredVolumeArgs, opts?: pulumi.ComponentResourceOptions) {
    super("postgresql-environments:index:RestoredVolume", name, {}, opts);
    const { data, prefix, settings } = args;
    const { generation, restored, upgraded } = data;
    const origin = formatOrigin(data);
    this.volume = new docker.Volume(
      `${name}-volume`,
      {
        name: dataVolumeName(prefix, generation),
        labels: [
          ...args.labels,
          { label: majorVersionLabel, value: String(settings.majorVersion) },
          { label: generationLabel, value: String(generation) },
          ...(origin === undefined ? [] : [{ label: restoredLabel, value: origin }]),
        ],
      },
      { parent: this, protect: false, retainOnDelete: true, ignoreChanges: ["labels"] },
    );
    const { dataDirectory, mount } = dataPaths(settings.majorVersion);
    const copy = restored?.from === "copy" ? settings.backup?.copy : undefined;
    this.filled = new command.local.Command(
      `${name}-filled`,
      {
        create: upgraded ? "node upgrade/upgrade-job.ts" : "node backup/restore-job.ts",
        // An update would run `create` again, on data that has been in use since.
        update: "true",
        environment: {
          ...compileCache,
          PREFIX: prefix,
          PROJECT: pulumi.getProject(),
          STACK: pulumi.getStack(),
          IMAGE: settings.image,
          VOLUME: this.volume.name,
          MOUNT: mount,
          DATA_DIRECTORY: dataDirectory,
          REPOSITORY: repositoryOf(prefix, settings.backup),
          RESTORE: restored ? formatRestore(restored) : "",
          MEMORY: String(toMebibytes(settings.memory)),
          STOP_TIMEOUT: String(settings.stopTimeout),
          // A volume that was restored in an earlier life of the stack is taken as it is.
          ADOPT_VOLUME: settings.adoptVolume || data.taken ? "on" : "off",
          ...(upgraded
            ? {
                UPGRADE_FROM: String(upgraded.from),
                MAJOR_VERSION: String(upgraded.to),
                SUPERUSER: settings.superuserName,
              }
            : {}),
          LABELS: JSON.stringify(stackLabels(args.labels)),
          PROGRAM_ENVIRONMENT: JSON.stringify(programEnvironment(settings)),
          ...(copy
            ? {
                COPY_ENVIRONMENT: JSON.stringify(
                  copyEnvironment(copy, pulumi.getProject(), pulumi.getStack()),
                ),
              }
            : {}),
        },
        // Not in the environment, which preview hides as a whole where there is a password in it.
        stdin: pulumi.jsonStringify(
          upgraded
            ? { superuser: args.superuserPassword }
            : {
                passwords: args.passwords,
                ...(copy ? { copy: { config: copy.config, key: copy.encryption ? args.copyKey : "" } } : {}),
              },
        ),
      },
      // Done is done: what the settings are later is none of its business.
      { parent: this, protect: false, ignoreChanges: ["environment", "stdin"] },
    );
    this.registerOutputs();
  }
}

/** Of the container that does the work. */
function stackLabels(labels: RestoredVolumeArgs["labels"]): Record<string, string> {
  const own = Object.fromEntries(labels.map(({ label, value }) => [label, value]));
  return { ...own, [roleLabel]: "restore" };
}
