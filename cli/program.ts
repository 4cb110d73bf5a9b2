import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { MigratorError } from "../migrator/errors.ts";
import manifest from "../package.json" with { type: "json" };
import { ChildFailure, describeError, exitCode, UserError } from "./errors.ts";

const exitCodes = `
Exit codes:
  0    it worked
  1    it did not work; the message says why
  2    wrong command, option or argument
  3    something is missing that must be there first; the message says how to get it
  130  ended by Ctrl-C`;

/**
 * The command line. Each command's code is imported when it runs, which keeps the others' start short.
 */
export function createProgram(): Command {
  const program = new Command("db")
    .description("What people do with PostgreSQL environments beside Pulumi's own commands.")
    .version(manifest.version, "--version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print a command's help")
    .showHelpAfterError("    Help: ./db --help, ./db COMMAND --help")
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "db: ")) })
    .addHelpText(
      "after",
      `${exitCodes}

An environment is a Pulumi stack: pulumi up -s production, pulumi preview and the rest work as they stand.
DEBUG=1 adds the stack trace to an unexpected error.`,
    );

  program
    .command("start")
    .summary("bring an environment up and say how to connect")
    .description(
      [
        "Installs what is missing, brings an environment up with `pulumi up`, and says how to connect.",
        "Steps that are done already cost nothing, and an interrupted run is taken up again by the next.",
        "Every Pulumi command that runs is printed.",
      ].join(" "),
    )
    .option(
      "-s, --stack <name>",
      "the environment; made where there is none of that name",
      stackName,
      "development",
    )
    .option("--again", "destroy it first, with all its data: for environments that are thrown away anyway")
    .option("-y, --yes", "do not ask before changing an environment other than development")
    .option("--show-passwords", "print the passwords too")
    .option("--json", "print the result as JSON; progress goes to standard error")
    .addHelpText(
      "after",
      `
The stack development has the empty passphrase. Any other needs PULUMI_CONFIG_PASSPHRASE or
PULUMI_CONFIG_PASSPHRASE_FILE, and Pulumi.<name>.yaml with at least its profile.
${exitCodes}`,
    )
    .action(async (options) => (await import("./commands/start.ts")).start(options));

  program
    .command("env")
    .summary("write an env file for an application")
    .description(
      [
        "Writes an environment's variables to a file that only you may read (mode 0600): POSTGRES_USER,",
        "POSTGRES_PASSWORD, POSTGRES_DB, DB_DRIVER, DB_SOURCE, DB_HOST, DB_PORT, DB_SSLMODE, and with TLS",
        "DB_SSLROOTCERT_BASE64: the authority's certificate (PEM) in base64, which needs no file.",
      ].join(" "),
    )
    .argument("<stack>", "the environment", stackName)
    .addOption(
      new Option("--role <role>", "whose login").choices(["app", "migrator", "readonly"]).default("app"),
    )
    .addOption(
      new Option(
        "--from <place>",
        "where the application runs: on the Docker host, or in the environment's network",
      )
        .choices(["host", "network"])
        .default("host"),
    )
    .addOption(
      new Option("--format <format>", "docker: for «docker run --env-file»; sh: for «set -a; . FILE»; json")
        .choices(["docker", "sh", "json"])
        .default("docker"),
    )
    .option("--out <file>", "where to; - is standard output (default: .environments/<stack>.env)")
    .option("--json", "print what was written where as JSON, without the values")
    .addHelpText(
      "after",
      `
The format docker has no quotes, because «docker run --env-file» takes them as part of the value; a shell
needs them, so the two files differ. Docker Compose reads the format docker with «format: raw».

With TLS and --from host, the authority's certificate is written beside the file too (FILE.ca.pem, named by
DB_SSLROOTCERT): DB_SOURCE with sslmode=verify-full and sslrootcert=FILE.ca.pem checks who the server is.

Examples:
  ./db env development
  ./db env production --from network --out app.env && docker run --env-file app.env …
  set -a; . <(./db env development --format sh --out -); set +a
${exitCodes}`,
    )
    .action(async (stack, options) => (await import("./commands/env.ts")).env(stack, options));

  program
    .command("psql")
    .summary("open psql on an environment")
    .description(
      [
        "Opens psql, with the password passed by environment variable, never on a command line. Uses the psql of",
        "this machine, or where there is none, the one in the environment's container.",
      ].join(" "),
    )
    .argument("<stack>", "the environment", stackName)
    .argument("[args...]", "psql's own arguments, after --")
    .addOption(
      new Option("--role <role>", "whose login")
        .choices(["app", "migrator", "readonly", "superuser"])
        .default("app"),
    )
    .addHelpText(
      "after",
      `
The superuser's database is postgres; the others' is the application's.
psql's own exit code is passed on: 0 good, 1 fatal, 2 connection lost or refused, 3 a script's error
(ON_ERROR_STOP). Before psql runs, the codes are these.
${exitCodes}

Examples:
  ./db psql development
  ./db psql production --role readonly -- -c 'select count(*) from orders'`,
    )
    .action(async (stack, args, options) => (await import("./commands/psql.ts")).psql(stack, args, options));

  program
    .command("doctor")
    .summary("say what is there, what is missing and what to do")
    .description("Looks at everything that an environment needs on this machine, and changes nothing.")
    .option("--json", "print the findings as JSON")
    .addHelpText("after", exitCodes)
    .action(async (options) => (await import("./commands/doctor.ts")).doctor(options));

  addMigrate(program);

  for (const command of allCommands(program)) command.exitOverride();
  return program;
}

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

const migrateExitCodes = `
Exit codes:
  0    it worked
  1    a migration failed, or a part of one is in place, or the database refused the run; the message says why
  2    wrong command, option, variable, folder or target, or files that do not fit the database; nothing was changed
  3    no connection, or it was lost; or something is missing that must be there first
  4    another run of migrations was at work for longer than the wait`;

function addMigrate(program: Command): void {
  const migrate = program
    .command("migrate")
    .summary("look at migrations and run them, without Pulumi")
    .description(
      [
        "Works on a stack's database (--stack), or on any database that DB_SOURCE names: a URL with the sslmode,",
        "such as postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE.",
      ].join(" "),
    )
    .addHelpText("after", migrateExitCodes);

  const subcommand = (name: string, summary: string, description: string) =>
    migrate
      .command(name)
      .summary(summary)
      .description(description)
      .option("-s, --stack <name>", "the environment (default: the database of DB_SOURCE)", stackName)
      .option("--dir <folder>", "the migrations (default: the stack's, or MIGRATIONS_DIR, or migrations)")
      .option(
        "--owner <role>",
        "who owns what migrations make (default: MIGRATIONS_OWNER, or the record's owner, or the database's)",
      )
      .option(
        "--schema <name>",
        "where unqualified names go (default: the stack's, or MIGRATIONS_SCHEMA, or app)",
      )
      .addHelpText("after", migrateExitCodes);

  subcommand(
    "status",
    "print the record and what is pending",
    "Prints what is in place, since when, by whom and by which version, what is pending, and what keeps a run from starting. Changes nothing.",
  )
    .option("--json", "print it as JSON")
    .action(async (options) => (await import("./commands/migrate.ts")).status(options));

  subcommand(
    "verify",
    "check that the files fit the database",
    "Names every file that was changed after it was applied, is missing, is out of order, or cannot be used, with what to do. Changes nothing.",
  )
    .option("--json", "print what is pending as JSON")
    .action(async (options) => (await import("./commands/migrate.ts")).verifyFolder(options));

  subcommand(
    "up",
    "apply what is pending",
    "Applies the pending migrations, in order. Goes back where the target is lower than what is applied.",
  )
    .argument(
      "[target]",
      "number or name of the last migration to be in place (default: the stack's target, or the newest)",
    )
    .action(async (target, options) => (await import("./commands/migrate.ts")).up(target, options));

  subcommand(
    "down",
    "revert migrations",
    "Runs the down scripts of all migrations after the target, the newest first, as they were recorded when the migrations were applied: the files may be gone.",
  )
    .argument("<target>", "number or name of the last migration to stay; 0: none")
    .action(async (target, options) => (await import("./commands/migrate.ts")).down(target, options));

  subcommand(
    "repair",
    "settle what the record says of a migration",
    "For a migration that was left in doubt, or whose files were changed on purpose. Shows what it finds in the catalogue and writes the record; runs no script.",
  )
    .argument("<name>", "the migration, as in 0001_name")
    .addOption(
      new Option("--status <status>", "what is true of it from now on")
        .choices(["applied", "reverted"])
        .makeOptionMandatory(),
    )
    .action(async (name, options) => (await import("./commands/migrate.ts")).repairRecord(name, options));
}

/** Pulumi's own rule: letters, digits, hyphens, underscores and dots, at most 100 of them. */
function stackName(name: string): string {
  if (!/^[\w.-]{1,100}$/.test(name)) {
    throw new InvalidArgumentError("A stack's name has letters, digits, hyphens, underscores and dots only.");
  }
  return name;
}

/** Runs one command line and returns the exit code. Errors are printed here, and only here. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    const result = createProgram();
    await result.parseAsync(args, { from: "user" });
    return Number(process.exitCode ?? exitCode.ok);
  } catch (error) {
    // Commander has already printed its own messages.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage;
    if (error instanceof ChildFailure) return error.exitCode;
    process.stderr.write(`${describeError(error, Boolean(process.env.DEBUG))}\n`);
    return error instanceof UserError || error instanceof MigratorError ? error.exitCode : exitCode.failure;
  }
}
