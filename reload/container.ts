import { spawnSync } from "node:child_process";

/** Something that the person who runs `pulumi up` can mend; printed without a stack trace. */
export class ReloadError extends Error {
  override readonly name = "ReloadError";
}

/** What a program in the container printed on standard output. */
function execute(container: string, user: string, program: readonly string[], input: string): string {
  const result = spawnSync("docker", ["exec", "-i", "-u", user, container, ...program], {
    encoding: "utf8",
    input,
    maxBuffer: 64 * 1024 ** 2,
  });
  if (result.error) {
    throw new ReloadError(
      `The docker command could not be run (${result.error.message}). Install Docker's client, or put it on the PATH.`,
    );
  }
  if (result.status !== 0) throw new ReloadError(result.stderr.trim() || `exit code ${result.status}`);
  return result.stdout.trimEnd();
}

/** Files arrive as lines of name and content, and become the current ones in one step. */
const putFiles = `
folder=$1 name=$2
umask 077
mkdir "$folder/$name"
while read -r file content; do printf %s "$content" | base64 -d >"$folder/$name/$file"; done
chown -R postgres:postgres "$folder/$name"
sync "$folder/$name"/* "$folder/$name"
readlink "$folder/current"
ln -sfn "$name" "$folder/next"
mv -fT "$folder/next" "$folder/current"
`;

const makeCurrent = `
folder=$1 name=$2
ln -sfn "$name" "$folder/next"
mv -fT "$folder/next" "$folder/current"
`;

/** Old ones have a private key in them. */
const removeOthers = `
folder=$1 name=$2
for path in "$folder"/*; do
  case $path in "$folder/$name" | "$folder/first" | "$folder/current") ;; *) rm -rf "$path" ;; esac
done
sync "$folder"
`;

/** The folder with the server's files on the volume: one folder for each time that they were brought, and a link. */
export class ConfigurationFolder {
  private readonly container: string;
  private readonly folder: string;

  constructor(container: string, folder: string) {
    this.container = container;
    this.folder = folder;
  }

  /**
   * Puts files into a new folder and makes it the current one. The server reads them when it is told to, or starts.
   * @returns name of the folder that was current before
   */
  put(name: string, files: Readonly<Record<string, string>>): string {
    const lines = Object.entries(files).map(
      ([file, content]) => `${file} ${Buffer.from(content).toString("base64")}\n`,
    );
    return this.run(putFiles, name, lines.join(""));
  }

  makeCurrent(name: string): void {
    this.run(makeCurrent, name);
  }

  removeAllBut(name: string): void {
    this.run(removeOthers, name);
  }

  private run(script: string, name: string, input = ""): string {
    return execute(this.container, "root", ["sh", "-euc", script, "reload", this.folder, name], input);
  }
}

/** The server over the container's socket, as the superuser, who needs no password there. */
export class ServerSocket {
  private readonly container: string;
  private readonly superuser: string;

  constructor(container: string, superuser: string) {
    this.container = container;
    this.superuser = superuser;
  }

  /** What statements print, unaligned, in a session of their own. @throws ReloadError with the server's message */
  run(sql: string): string {
    const psql = ["psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "-v", "ON_ERROR_STOP=1"];
    const program = [...psql, "-U", this.superuser, "-d", "postgres"];
    return execute(this.container, "postgres", program, sql);
  }

  rows<Row>(query: string): Row[] {
    return JSON.parse(this.run(`SELECT coalesce(json_agg(answer), '[]') FROM (${query}) AS answer;`));
  }
}
