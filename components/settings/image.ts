/** Major versions whose image contract (data directory, volume, entrypoint) this program knows. */
export const supportedMajorVersions = [15, 16, 17, 18] as const;
export type MajorVersion = (typeof supportedMajorVersions)[number];

/** Image reference: [host[:port]/]path[:tag][@digest] (github.com/distribution/reference, grammar). */
const reference =
  /^(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d+)?)\/)?[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*(?::(?<tag>\w[\w.-]{0,127}))?(?:@sha256:[0-9a-f]{64})?$/;

export function isImageReference(image: string): boolean {
  return image.length <= 4096 && reference.test(image);
}

/** Major version that the image's tag begins with (`postgres:17.6-trixie` → 17), or undefined where it says none. */
export function majorVersionOfImage(image: string): number | undefined {
  const major = /^(\d+)(?![\d])/.exec(reference.exec(image)?.groups?.tag ?? "")?.[1];
  return major === undefined ? undefined : Number(major);
}
