import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { docker, image, stackLabel, testLabel, testRun } from "./docker.ts";

const run = promisify(execFile);

/** A second container in a stack's network, with psql: stands for an application. */
export interface ClientContainer {
  readonly id: string;
  /** Runs psql with one connection string or URL; what it prints. Rejects with what psql says. */
  psql(connection: string, sql: string): Promise<string>;
  remove(): Promise<void>;
}

export async function startClient(stack: string, network: string): Promise<ClientContainer> {
  const id = await docker(
    ...["run", "--detach", "--network", network, "--label", `${testLabel}=${testRun}`],
    ...["--label", `${stackLabel}=${stack}`, "--entrypoint", "sleep", image, "infinity"],
  );
  return {
    id,
    async psql(connection, sql) {
      const command = 'psql --no-psqlrc --no-password -At -c "$SQL" "$DB_SOURCE"';
      const { stdout } = await run(
        "docker",
        ["exec", "-e", "SQL", "-e", "DB_SOURCE", id, "sh", "-c", command],
        {
          env: { ...process.env, SQL: sql, DB_SOURCE: connection },
        },
      );
      return stdout.trimEnd();
    },
    remove: async () => {
      await docker("rm", "--force", "--volumes", id);
    },
  };
}
