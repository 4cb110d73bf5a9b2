import { settingKeys } from "../components/settings/schema.ts";
import { readStackFile } from "./passphrase.ts";

/** The image that a stack runs, which is wanted before Pulumi runs. Quoted and plain values are understood. */
export async function stackImage(project: string, stack: string): Promise<string> {
  return imageSetting((await readStackFile(stack)) ?? "", project);
}

/** @param stackFile Text of Pulumi.<stack>.yaml. */
export function imageSetting(stackFile: string, project: string): string {
  return textSetting(stackFile, project, "image") ?? settingKeys.image.declared.default;
}

/** A plain setting of a stack's file, as text; undefined where the file leaves it out. */
export function textSetting(stackFile: string, project: string, key: string): string | undefined {
  const name = `${project}:${key}`.replace(/[.$]/g, "\\$&");
  const line = new RegExp(`^[ \\t]+["']?${name}["']?:[ \\t]*(?:"([^"]*)"|'([^']*)'|([^#\\s]+))`, "m").exec(
    stackFile,
  );
  return line?.[1] ?? line?.[2] ?? line?.[3];
}
