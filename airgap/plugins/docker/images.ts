import type Docker from "dockerode";
import { type Engine, engineMessage, isMissing } from "./engine.ts";

/**
 * Finds a local image, and pulls it where there is none.
 *
 * @param platform Such as `linux/amd64`; empty for the engine's own.
 * @throws {Error} with the genuine plugin's message, to be put after what it was for.
 */
export async function findImage(
  engine: Engine,
  docker: Docker,
  name: string,
  platform = "",
): Promise<Docker.ImageInspectInfo> {
  if (name === "") throw new Error("empty image name is not allowed");
  const local = await localImage(engine, docker, name).catch((error: Error) => {
    throw new Error(`findImage1: error looking up local image "${name}": ${error.message}`);
  });
  if (local !== undefined) return local;
  try {
    const progress = await docker.pull(name, { platform });
    // What went wrong in the stream shows below, where the image is still not there.
    await new Promise((resolve) => docker.modem.followProgress(progress, resolve));
  } catch (error) {
    const message = engineMessage(error, engine.host);
    throw new Error(`unable to pull image ${name}: error pulling image ${name}: ${message}`);
  }
  const pulled = await localImage(engine, docker, name);
  if (pulled !== undefined) return pulled;
  throw new Error(`unable to find or pull image ${name}`);
}

/** @returns undefined where there is no such image. */
export async function localImage(
  engine: Engine,
  docker: Docker,
  name: string,
): Promise<Docker.ImageInspectInfo | undefined> {
  try {
    return await docker.getImage(name).inspect();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new Error(`unable to inspect image ${name}: ${engineMessage(error, engine.host)}`);
  }
}
