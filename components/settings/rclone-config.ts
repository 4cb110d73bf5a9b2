/**
 * Storages that are no place off the host, or that stand on another one: the copy has one remote, and puts its own
 * encryption over it (rclone.org/overview).
 */
const noStorages = [
  ...["local", "memory"],
  ...["alias", "archive", "cache", "chunker", "combine", "compress", "crypt", "hasher", "union"],
];

/**
 * What keeps an rclone.conf from being used; undefined: nothing. It must have one remote, and be readable without a
 * passphrase of its own.
 */
export function rcloneConfigMistake(text: string): string | undefined {
  if (/^\s*#\s*Encrypted rclone configuration/m.test(text)) return "it is encrypted with a passphrase";
  const sections = [...text.matchAll(/^[^\S\n]*\[([^\]\n]*)\][^\S\n]*\r?$/gm)].map(([, name = ""]) => name);
  if (sections.length !== 1) return `it has ${sections.length} remotes`;
  // What rclone takes as a remote's name.
  if (!/^[\w.+@ -]+$/.test(sections[0] ?? "") || /^[- ]| $/.test(sections[0] ?? "")) {
    return "its remote has a name that rclone does not take";
  }
  const type = /^[^\S\n]*type[^\S\n]*=[^\S\n]*(\S+)[^\S\n]*\r?$/m.exec(text)?.[1];
  if (type === undefined) return "its remote has no type";
  return noStorages.includes(type) ? `its type is ${type}` : undefined;
}
