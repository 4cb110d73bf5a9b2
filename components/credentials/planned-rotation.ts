import * as pulumi from "@pulumi/pulumi";
import { previousOutputs } from "../previous-outputs.ts";
import type { Settings } from "../settings.ts";
import { markRotation, type RotationMarks, remindersOf } from "./rotation.ts";

/**
 * Since when each password is in use, as the stack's outputs keep it; a preview reminds of old ones.
 * @returns Null in an ephemeral environment, which has new passwords each time that it is made
 */
export async function planRotation(settings: Settings): Promise<RotationMarks | null> {
  if (settings.lifetime === "ephemeral") return null;
  const now = new Date();
  const { rotation } = await previousOutputs();
  const marks = markRotation(settings.rotation, (rotation ?? {}) as Partial<RotationMarks>, now);
  if (pulumi.runtime.isDryRun()) {
    const { passwordMaxAge, rotationOverlap } = settings;
    for (const reminder of remindersOf(marks, rotationOverlap, passwordMaxAge, now, pulumi.getStack())) {
      void pulumi.log.warn(reminder);
    }
  }
  return marks;
}
