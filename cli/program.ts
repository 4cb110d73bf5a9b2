import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { ageExample, parseAge } from "../components/settings/units.ts";
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
    .option(
      "--keep-for <age>",
      "how long ./db prune leaves a stack alone after its last use, as in 12h or 30d; for one without a file of its own (default: 7d)",
      age,
    )
    .option("--again", "destroy it first, with all its data: for environments that are thrown away anyway")
    .option("-y, --yes", "do not ask before changing an environment other than development")
    .option("--show-passwords", "print the passwords too")
    .option("--json", "print the result as JSON; progress goes to standard error")
    .addHelpText(
      "after",
      `
Where there is no Pulumi.<name>.yaml, the stack gets development's settings and a port of its own, for a branch or a
pull request: the file is made, hidden from git, and removed with the stack by ./db prune. It has the empty passphrase,
as development has. A stack with a file of its own needs PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE.

Examples:
  ./db start
  ./db start --stack pr-123
  ./db start --stack "$(git branch --show-current | tr / -)" --keep-for 30d
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
    .argument("[stack]", "the environment (default: development)", stackName)
    .argument("[args...]", "psql's own arguments, after --")
    .addOption(
      new Option("--role <role>", "whose login")
        .choices(["app", "migrator", "readonly", "monitor", "superuser"])
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
  ./db psql
  ./db psql -- -c 'select count(*) from orders'
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

  addRotate(program);
  addMigrate(program);
  addRehearse(program);
  addReset(program);
  addTestdb(program);
  addStacks(program);
  addBackup(program);

  for (const command of allCommands(program)) command.exitOverride();
  return program;
}

function addRotate(program: Command): void {
  program
    .command("rotate")
    .summary("give a login another password, without an outage")
    .description(
      [
        "Makes another password, or another certificate authority, the current one: counts it up in the stack's file and",
        "runs `pulumi up`. The application has two logins in one group: the idle one gets a new password and becomes the",
        "one of the outputs, the other stays valid until --finish. All other logins get their new password at once; their",
        "open sessions go on.",
      ].join(" "),
    )
    .argument("<stack>", "the environment, whose profile is production", stackName)
    .addOption(
      new Option("--role <role>", "whose password").choices([
        "app",
        "migrator",
        "readonly",
        "monitor",
        "backup",
        "superuser",
      ]),
    )
    .option(
      "--authority",
      "the certificate authority; clients that know only the old one are served until --finish",
    )
    .option("--finish", "lock the application's other login, or give up the old authority")
    .option(
      "--force",
      "finish although the other login is in use; begin although the last rotation is not finished",
    )
    .option("-y, --yes", "run pulumi up without asking")
    .addHelpText(
      "after",
      `
The superuser's password need not be known for that: it is set over the container's socket.

Examples:
  ./db rotate production --role app
  ./db env production --from network --out app.env     # and restart the application with it
  ./db rotate production --role app --finish
${exitCodes}`,
    )
    .action(async (stack, options) => (await import("./commands/rotate.ts")).rotate(stack, options));
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

  const allowDataLoss = [
    "--allow-data-loss",
    "let the way back drop tables, columns and rows that hold data (default: it is refused, with what would be lost)",
  ] as const;

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
    "plan",
    "print what would be applied, and what is dangerous about it",
    "Prints the SQL of the migrations that are not applied, with the locks that each statement takes on tables in use, and squawk's findings. Changes nothing. With --stack or --base it needs no connection to the database: what is applied comes from the stack's state, or from git. Exits with 1 where a finding would stop an update of a persistent environment.",
  )
    .option("--base <ref>", "count as applied what this branch or commit has, as in origin/main")
    .addOption(
      new Option("--format <format>", "markdown is for a comment on a pull request")
        .choices(["text", "markdown", "json"])
        .default("text"),
    )
    .action(async (options) => (await import("./commands/plan.ts")).plan(options));

  subcommand(
    "up",
    "apply what is pending",
    "Applies the pending migrations, in order. Goes back where the target is lower than what is applied.",
  )
    .argument(
      "[target]",
      "number or name of the last migration to be in place (default: the stack's target, or the newest)",
    )
    .option(...allowDataLoss)
    .action(async (target, options) => (await import("./commands/migrate.ts")).up(target, options));

  subcommand(
    "down",
    "revert migrations",
    "Runs the down scripts of all migrations after the target, the newest first, as they were recorded when the migrations were applied: the files may be gone.",
  )
    .argument("<target>", "number or name of the last migration to stay; 0: none")
    .option(...allowDataLoss)
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

  addBaseline(subcommand);
  addNew(migrate);
}

function addNew(migrate: Command): void {
  migrate
    .command("new")
    .summary("write the next pair of files")
    .description(
      "Writes an empty up and down script with the next number, or with the time where the folder has times for numbers, and prints their paths.",
    )
    .argument("<name>", "what it is about, as in product_weight")
    .option("-s, --stack <name>", "the environment whose folder it is", stackName)
    .option("--dir <folder>", "the migrations (default: the stack's, or MIGRATIONS_DIR, or migrations)")
    .addHelpText("after", migrateExitCodes)
    .action(async (name, options) => (await import("./commands/migrate.ts")).writeNew(name, options));
}

function addBaseline(subcommand: (name: string, summary: string, description: string) => Command): void {
  subcommand(
    "baseline",
    "adopt a database that has its schema already",
    [
      "Records all migrations up to and including NAME as applied, and runs none of them. Refuses where the record has",
      "entries, and where something is not there that these migrations make. --from takes NAME from another tool's own",
      "table, which stays as it is.",
    ].join(" "),
  )
    .argument("[name]", "name or number of the last migration that is in place")
    .addOption(
      new Option("--from <tool>", "whose table tells what is in place").choices([
        "golang-migrate",
        "node-pg-migrate",
      ]),
    )
    .option("--force", "record it although the catalogue, or another tool's table, says something else")
    .action(async (name, options) => (await import("./commands/migrate.ts")).adopt(name, options));
}

function addRehearse(program: Command): void {
  program
    .command("rehearse")
    .summary("try new migrations on a throwaway server: up, down and up again")
    .description(
      [
        "Starts a server in memory with a stack's image, extensions and roles, applies the migrations that the base",
        "branch has, and runs each new one up, down and up again. Names every object of the catalogue in which a round",
        "trip leaves a difference, and the locks that the up script took. No database of yours is touched.",
      ].join(" "),
    )
    .option(
      "-s, --stack <name>",
      "whose settings (default: production, or development where there is no Pulumi.production.yaml)",
      stackName,
    )
    .option(
      "--base <ref>",
      "the branch that the migrations are to go to (default: origin/HEAD, origin/main or main)",
    )
    .option("--all", "rehearse every migration of the folder, whatever the base has; needs no git")
    .option("--dir <folder>", "the migrations (default: the stack's)")
    .option("--json", "print the result as JSON; progress goes to standard error")
    .option("--keep", "leave the server running, and say how to connect")
    .addHelpText(
      "after",
      `
Needs Docker, and neither Pulumi nor a passphrase. A table whose columns only come back in another order is noted,
and no failure.

Examples:
  ./db rehearse
  ./db rehearse --base origin/release --json
  ./db rehearse --all --stack development --keep

Exit codes:
  0    no difference, or nothing to rehearse
  1    a round trip left a difference, or a migration failed
  2    wrong command, option, settings or folder, or files that do not fit those of the base
  3    something is missing that must be there first; the message says how to get it
  130  ended by Ctrl-C`,
    )
    .action(async (options) => (await import("./commands/rehearse.ts")).rehearseMigrations(options));
}

function addReset(program: Command): void {
  program
    .command("reset")
    .summary("give a development database back as it is right after up")
    .description(
      [
        "Puts a new database in the place of the application's: all migrations and seed data, nothing else. It is a",
        "copy of a template that `pulumi up` has made, so that it takes a moment. Sessions in the old database are",
        "ended; roles, passwords, privileges and other databases stay as they are.",
      ].join(" "),
    )
    .argument("[stack]", "the environment, whose profile is development", stackName, "development")
    .option("--json", "print what was done as JSON")
    .addHelpText(
      "after",
      `
Where migrations, seed data or settings have changed since, it first makes a new template, and runs
«pulumi up» at the end, so that Pulumi knows. A migration that fails leaves the database as it was.
An environment that keeps its data is refused.

Examples:
  ./db reset
  ./db reset pr-123 --json
${exitCodes}`,
    )
    .action(async (stack, options) => (await import("./commands/reset.ts")).reset(stack, options));
}

function addTestdb(program: Command): void {
  const testdb = program
    .command("testdb")
    .summary("make databases for tests, each a clone of its own")
    .description(
      [
        "Databases that have what the application's has right after `up`, with the same privileges, in the server of a",
        "development environment. From TypeScript: createTestDatabase in testing/index.ts, useTestDatabase in",
        "testing/vitest.ts.",
      ].join(" "),
    )
    .addHelpText("after", exitCodes);

  const subcommand = (name: string, summary: string, description: string, example: string) =>
    testdb
      .command(name)
      .summary(summary)
      .description(description)
      .option("-s, --stack <name>", "the environment, whose profile is development", stackName, "development")
      .option("--json", "print the result as JSON")
      .addHelpText("after", `\nExample:\n  ${example}\n${exitCodes}`);

  subcommand(
    "new",
    "make one and print its URL",
    "Makes a database and prints its URL. One that nobody drops or uses goes an hour later, when another is made.",
    'DB_SOURCE="$(./db testdb new)" npm test',
  )
    .addOption(
      new Option("--role <role>", "whose login").choices(["app", "migrator", "readonly"]).default("app"),
    )
    .action(async (options) => (await import("./commands/testdb.ts")).newDatabase(options));

  subcommand(
    "drop",
    "remove some, or all",
    "Removes databases for tests, and ends the sessions in them.",
    "./db testdb drop --all",
  )
    .argument("[database...]", "by name or by URL")
    .option("--all", "every database for tests that the environment has")
    .action(async (names, options) => (await import("./commands/testdb.ts")).dropDatabases(names, options));

  subcommand(
    "list",
    "show those that there are",
    "Prints name, age, size and sessions of each, and why it was kept.",
    "./db testdb list --stack pr-123",
  ).action(async (options) => (await import("./commands/testdb.ts")).list(options));
}

function addStacks(program: Command): void {
  program
    .command("list")
    .summary("show all environments and how they are")
    .description(
      "Shows every stack of the project with its state, port, age and size, and what else the project has in Docker. Needs no passphrase.",
    )
    .option("--json", "print it as JSON")
    .addHelpText(
      "after",
      `
AGE is that of the server's container, USED the time since the stack was last changed or started, DATA the size of
the data directory, MEMORY what the container takes, data in memory included, BACKUP the age of the newest base backup.

States: running, starting, unhealthy, stopped; gone (its container is), destroyed, never up; left over (it is in
Docker, and no state knows of it any more).

Examples:
  ./db list
  ./db list --json | jq -r '.[] | select(.state == "running") | .stack'
${exitCodes}`,
    )
    .action(async (options) => (await import("./commands/list.ts")).list(options));

  program
    .command("prune")
    .summary("remove stacks that were not used for long")
    .description(
      [
        "Removes the stacks that have keepFor in their settings, as those have that `./db start` makes by itself, when",
        "their last use is longer ago than that: with `pulumi destroy`, `pulumi stack rm` and their file. Also removes",
        "what development environments have left in Docker whose state is gone, such as with a deleted checkout.",
        "Shows first what it would remove, and asks.",
      ].join(" "),
    )
    .option("--older-than <age>", "remove what was last used longer ago than this, instead of keepFor", age)
    .option("--dry-run", "only show what would be removed")
    .option("-y, --yes", "do not ask")
    .option("--json", "print the result as JSON; progress goes to standard error")
    .addHelpText(
      "after",
      `
Never removed: development, stacks without keepFor, stacks that keep their data, volumes, and stacks that a
command is working on. What an interrupted run has not finished, the next one does.

Examples:
  ./db prune --dry-run
  ./db prune --older-than 3d --yes
${exitCodes}`,
    )
    .action(async (options) => (await import("./commands/prune.ts")).prune(options));

  program
    .command("status")
    .summary("show how an environment is")
    .description(
      [
        "Shows health, version, size, connections, the longest transaction, the queries that took most time, and which",
        "migrations are in place and pending. Logs in as the monitor, and as the migrator for the record of migrations.",
      ].join(" "),
    )
    .argument("[stack]", "the environment", stackName, "development")
    .option("--json", "print it as JSON")
    .addHelpText(
      "after",
      `
Ends with 1 where the server does not answer. Needs the stack's passphrase; ./db list and ./db logs do not.

Examples:
  ./db status
  ./db status production --json
${exitCodes}`,
    )
    .action(async (stack, options) => (await import("./commands/status.ts")).status(stack, options));

  addVerify(program);
  addUpgrade(program);

  program
    .command("logs")
    .summary("show a server's log")
    .description("Prints the log of an environment's server, with passwords masked. Needs no passphrase.")
    .argument("[stack]", "the environment", stackName, "development")
    .option("-f, --follow", "go on with what comes, until Ctrl-C")
    .option("--since <when>", "from this time on, or from so long ago, as in 2026-01-31T13:00:00Z or 10m")
    .option("--tail <lines>", "only so many of the last lines", lineCount)
    .addHelpText(
      "after",
      `
Examples:
  ./db logs --tail 50
  ./db logs production --follow --since 10m
  ./db logs pr-123 | grep ERROR
${exitCodes}`,
    )
    .action(async (stack, options) => (await import("./commands/logs.ts")).logs(stack, options));
}

function addVerify(program: Command): void {
  program
    .command("verify")
    .summary("tell in what the server is not as the code says")
    .description(
      [
        "Compares a running environment with its settings, its state and the migrations: container, passwords (by",
        "logging in), roles with their attributes and memberships, settings, access rules, the record of migrations,",
        "and every object of every database with its owner and privileges. How it should be is read from a throwaway",
        "server of the same settings. Changes nothing.",
      ].join(" "),
    )
    .argument("<stack>", "the environment", stackName)
    .option("--json", "print it as JSON; progress goes to standard error")
    .addHelpText(
      "after",
      `
Needs Docker and the stack's passphrase. Not compared: rows, the values of sequences, what an extension consists of.

Examples:
  ./db verify production
  ./db verify production --json | jq -r '.differences[].text'

Exit codes:
  0    no difference
  1    a difference, or something could not be compared; the report names each
  2    wrong command, option, settings or migrations
  3    something is missing that must be there first, or the server does not answer
  130  ended by Ctrl-C`,
    )
    .action(async (stack, options) => (await import("./commands/verify.ts")).verifyStack(stack, options));
}

function addUpgrade(program: Command): void {
  const upgrade = program
    .command("upgrade")
    .summary("try another major version of PostgreSQL on a copy of the data")
    .description(
      "The upgrade itself is a setting, and Pulumi's: docs/operations.md, «Another major version». Here it is tried first.",
    )
    .addHelpText("after", exitCodes);
  upgrade
    .command("rehearse")
    .summary("load the data into a throwaway server of another major version")
    .description(
      [
        "Dumps every database of a running environment, as it is at this moment, into a throwaway server of another",
        "image, and compares rows, sequences, objects, owners, privileges and roles. Says how long each step takes. The",
        "environment itself is only read. Takes room on Docker's disk for the data and a compressed dump of it.",
      ].join(" "),
    )
    .argument("[stack]", "the environment", stackName, "production")
    .requiredOption("--image <image>", "the image to come, as in postgres:17-trixie")
    .option("--json", "print the result as JSON; progress goes to standard error")
    .addHelpText(
      "after",
      `
Example:
  ./db upgrade rehearse production --image postgres:17-trixie
${exitCodes}`,
    )
    .action(async (stack, options) =>
      (await import("./commands/upgrade.ts")).rehearseUpgrade(stack, options),
    );
}

function addBackup(program: Command): void {
  const backup = program
    .command("backup")
    .summary("look at backups, take one, check them, prove that they restore")
    .description(
      "Works on the backups of an environment that keeps its data, in their containers on this host. Needs no passphrase. docs/backups.md tells what is backed up when.",
    )
    .addHelpText("after", exitCodes);

  const subcommand = (name: string, summary: string, description: string, example: string) =>
    backup
      .command(name)
      .summary(summary)
      .description(description)
      .argument("[stack]", "the environment", stackName, "production")
      .option("--json", "print the result as JSON; progress goes to standard error")
      .addHelpText("after", `\nExample:\n  ${example}\n${exitCodes}`);

  subcommand(
    "list",
    "show what there is, and how far back it goes",
    "Prints the base backups, the moments between which everything can be restored, restore points, how far the newest of these is behind, and what the last restore for trial gave.",
    "./db backup list",
  ).action(async (stack, options) => (await import("./commands/backup.ts")).show("list", stack, options));
  subcommand(
    "now",
    "take a base backup now",
    "Takes a base backup beside those on schedule, and waits until all that a restore of it needs is in the repository.",
    "./db backup now production --full",
  )
    .option("--full", "with everything, not only what changed since the one before")
    .action(async (stack, options) => (await import("./commands/backup.ts")).now(stack, options));
  subcommand(
    "check",
    "say whether all is well",
    "Names each problem: nothing is received, a backup is too old, the last restore failed, space runs out. Ends with 1 where there is one.",
    "./db backup check || echo 'look at it'",
  ).action(async (stack, options) => (await import("./commands/backup.ts")).show("check", stack, options));
  subcommand(
    "verify",
    "read all of it, and name what is damaged or missing",
    "Compares every file with its checksum, and looks for gaps in the WAL. With an id, extracts that backup and compares each of its files too.",
    "./db backup verify production",
  )
    .argument("[id]", "a base backup, as ./db backup list has it")
    .action(async (stack, id, options) => (await import("./commands/backup.ts")).verify(stack, id, options));
  subcommand(
    "drill",
    "restore the newest moment to a throwaway server, check it and time it",
    "Does now what happens on schedule. The environment itself is not touched.",
    "./db backup drill production --json",
  ).action(async (stack, options) => (await import("./commands/backup.ts")).drill(stack, options));

  program
    .command("restore")
    .summary("restore a backup beside an environment, to look at it")
    .description(
      "Restores a stack's data as it was at some moment, into an empty folder or a server that only this host's docker command reaches. The environment itself is not touched.",
    )
    .argument("[stack]", "the environment", stackName, "production")
    .option("--to <target>", "a time with its zone, a restore point's name, a log position, or latest")
    .option("--backup <id>", "begin with this base backup (default: the newest that is old enough)")
    .option("--timeline <number>", "follow this timeline (default: the newest)", lineCount)
    .option("--into <folder>", "put the data directory into this folder, which is empty or not there yet")
    .option("--server", "start a server on it, and say how to get in and how to remove it")
    .option("--list-volumes", "only show the data volumes that the stack has had, and how to remove old ones")
    .option("--json", "print the result as JSON; progress goes to standard error")
    .addHelpText(
      "after",
      `
To bring the environment itself back, use its setting, and Pulumi. The data goes to a new volume; the old one is kept:
  pulumi config set -s production --path restore.time 2026-11-25T12:30:00Z
  pulumi preview -s production      # says from when the data will be, and what will be lost
  pulumi up -s production
In the place of restore.time: restore.name 'before 0007_order_number_required', restore.lsn 0/5000060, or
restore.latest true. Removing the setting later changes nothing. docs/backups.md has the rest, such as another stack's
data, and the same for a host that has lost everything.

Examples:
  ./db restore production --to 2026-11-25T12:30:00Z --server
  ./db restore production --to 'before 0007_order_number_required' --server
  ./db restore production --to latest --into /mnt/restored
  ./db restore production --list-volumes
${exitCodes}`,
    )
    .action(async (stack, options) => (await import("./commands/restore.ts")).restore(stack, options));
}

function age(text: string): string {
  if (parseAge(text) === undefined) throw new InvalidArgumentError(`Expected ${ageExample}.`);
  return text;
}

function lineCount(text: string): string {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("Expected a whole number.");
  return text;
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
