import { afterAll, beforeAll, expect, it } from "vitest";
import { compareCatalogues, describeDifference } from "../../catalogue/compare.ts";
import { readCatalogue } from "../../catalogue/read.ts";
import { readInitScripts } from "../../components/server/init-scripts.ts";
import { readMigrations } from "../../migrator/files.ts";
import { applyAll } from "../../rehearsal/rehearse.ts";
import { containerName, removeServer, startServer } from "../../rehearsal/server.ts";
import { stackSettings } from "../../rehearsal/stack-settings.ts";
import { succeeded, TestProject, type TestStack } from "../support/project.ts";
import { open } from "../support/sql.ts";

let project: TestProject;
let stack: TestStack;

beforeAll(async () => {
  project = new TestProject();
  stack = await project.stack("development");
  succeeded(await stack.up());
});
afterAll(async () => {
  await project?.remove();
});

it("a rehearsal's server has the same catalogue, roles and settings as a stack of the same settings", async () => {
  const { connections } = await stack.outputs();
  const source = new URL(connections.superuser.host.source);
  source.pathname = connections.app.database;
  const inStack = await open(source.href);

  const settings = stackSettings(
    stack.name,
    project.read("Pulumi.yaml"),
    project.read(`Pulumi.${stack.name}.yaml`),
  );
  const container = containerName("test");
  try {
    const initScripts = readInitScripts(settings.initdbFolder, project.folder);
    const { superuser, migrator } = await startServer({ container, settings, initScripts, keep: false });
    const folder = project.path("migrations");
    await applyAll({ superuser, migrator, settings, folder }, readMigrations(folder));

    const differences = compareCatalogues(await readCatalogue(inStack), await readCatalogue(superuser));
    expect(differences.map((difference) => describeDifference(difference, "in the rehearsal"))).toEqual([]);
    const roles = `SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
                          rolconnlimit, ARRAY(SELECT roleid::regrole::text || admin_option || inherit_option
                          FROM pg_auth_members WHERE member = pg_roles.oid ORDER BY 1) AS groups
                     FROM pg_roles ORDER BY rolname`;
    expect((await superuser.query(roles)).rows).toEqual((await inStack.query(roles)).rows);
    // What the init scripts have taken away, which is in PostgreSQL's own schema.
    const largeObjects =
      "SELECT proname, proacl::text FROM pg_proc WHERE proname LIKE 'lo\\_%' ORDER BY 1, oid";
    expect((await superuser.query(largeObjects)).rows).toEqual((await inStack.query(largeObjects)).rows);
    await superuser.end();
  } finally {
    await removeServer(container);
    await inStack.end();
  }
});
