import type { ResourceDefinition } from "../common/plugin.ts";
import type { Schema } from "../common/schema.ts";
import type { Properties } from "../common/values.ts";
import { BridgeError } from "./bridge.ts";
import type { Server, Session } from "./connection.ts";
import {
  catalogTypes,
  privilegesEqual,
  publicRole,
  refuseImport,
  roleAndSchemaExist,
  roleOid,
  validatePrivileges,
} from "./privileges.ts";
import { databaseExists, identifier, lockRole, setOrder, withRolesGranted } from "./sql.ts";
import { flag, oneOf, planned, sorted, strings, text } from "./state.ts";

const properties: Schema = {
  role: { kind: "string", required: true, forceNew: true },
  database: { kind: "string", required: true, forceNew: true },
  owner: { kind: "string", required: true, forceNew: true },
  schema: { kind: "string", forceNew: true },
  objectType: {
    kind: "string",
    required: true,
    forceNew: true,
    validate: oneOf(["table", "sequence", "function", "routine", "type", "schema"], "object_type"),
  },
  privileges: { kind: "set", required: true },
  withGrantOption: { kind: "boolean", forceNew: true, default: false },
};

export const defaultPrivileges: ResourceDefinition<Server> = {
  token: "postgresql:index/defaultPrivileges:DefaultPrivileges",
  properties,

  async create(inputs, { config: server, urn }) {
    const exists = await apply(server, inputs);
    // Such as EXECUTE for everybody, which functions have by default: there is nothing that could be read back.
    if (!exists) throw new BridgeError(`expected non-nil error with nil state during Create of ${urn}`);
    return { id: idOf(inputs), outputs: outputsAfter({}, inputs) };
  },

  async read(_id, state, _inputs, { config: server }) {
    refuseImport(state, "postgresql_default_privileges");
    const database = text(state, "database");
    const found = await server.session("", (session) => databaseExists(session, database));
    if (!found) return undefined;
    return server.session(database, async (session) => {
      if (!(await roleAndSchemaExist(session, text(state, "role"), text(state, "schema")))) return undefined;
      const granted = await readPrivileges(session, state);
      if (granted.length === 0 && strings(state, "privileges").length > 0) return undefined;
      const same = await privilegesEqual(server, session, granted, state);
      return {
        id: idOf(state),
        outputs: { privileges: null, ...state, ...(same ? {} : { privileges: sorted(granted) }) },
      };
    });
  },

  async update(_id, state, inputs, { config: server, urn }) {
    if (await apply(server, inputs)) return outputsAfter(state, inputs);
    throw new BridgeError(
      `Resource provider reported that the resource did not exist while updating ${urn}.\n\n` +
        "This is usually a result of the resource having been deleted outside of Pulumi, and can often be " +
        "fixed by running `pulumi refresh` before updating.",
    );
  },

  async delete(_id, state, { config: server }) {
    const owner = text(state, "owner");
    await server.transaction(text(state, "database"), lockRole(owner), async (session) => {
      await withRolesGranted(session, [owner], () => revoke(session, state));
    });
  },
};

function outputsAfter(state: Properties, inputs: Properties): Properties {
  return {
    ...inputs,
    privileges: planned("privileges", state, inputs),
    withGrantOption: flag(inputs, "withGrantOption"),
  };
}

function idOf(values: Properties): string {
  const schema = text(values, "schema") || "noschema";
  const rest = [text(values, "owner"), text(values, "objectType")];
  return [text(values, "role"), text(values, "database"), schema, ...rest].join("_");
}

/** Makes the defaults what is wanted. Returns whether the server has anything to show for it. */
async function apply(server: Server, inputs: Properties): Promise<boolean> {
  const owner = text(inputs, "owner");
  if (text(inputs, "schema") !== "" && text(inputs, "objectType") === "schema") {
    throw new Error("cannot specify `schema` when `object_type` is `schema`");
  }
  if (flag(inputs, "withGrantOption") && text(inputs, "role").toLowerCase() === publicRole) {
    throw new Error("with_grant_option cannot be true for role 'public'");
  }
  return server.transaction(text(inputs, "database"), lockRole(owner), async (session) => {
    await validatePrivileges(server, session, inputs);
    const wanted = setOrder(strings(inputs, "privileges"));
    await withRolesGranted(session, [owner], async () => {
      await revoke(session, inputs);
      if (wanted.length === 0) return;
      const option = flag(inputs, "withGrantOption") ? " WITH GRANT OPTION" : "";
      await session.run(
        `${alter(inputs)} GRANT ${wanted.join(",")} ON ${plural(inputs)} TO ` +
          `${identifier(text(inputs, "role"))}${option}`,
        undefined,
        "could not alter default privileges",
      );
    });
    const granted = await readPrivileges(session, inputs);
    return granted.length > 0 || wanted.length === 0;
  });
}

async function revoke(session: Session, values: Properties): Promise<void> {
  await session.run(
    `${alter(values)} REVOKE ALL ON ${plural(values)} FROM ${identifier(text(values, "role"))}`,
    undefined,
    "could not revoke default privileges",
  );
}

function alter(values: Properties): string {
  const schema = text(values, "schema");
  const inSchema = schema === "" ? "" : ` IN SCHEMA ${identifier(schema)}`;
  return `ALTER DEFAULT PRIVILEGES FOR ROLE ${identifier(text(values, "owner"))}${inSchema}`;
}

function plural(values: Properties): string {
  return `${text(values, "objectType").toUpperCase()}S`;
}

async function readPrivileges(session: Session, values: Properties): Promise<string[]> {
  const oid = await roleOid(session, text(values, "role"));
  const rows = await session.run<{ privilege: string }>(
    `SELECT DISTINCT privilege_type AS privilege
     FROM pg_default_acl LEFT JOIN pg_namespace ON pg_namespace.oid = defaclnamespace, aclexplode(defaclacl)
     WHERE defaclobjtype = $1 AND grantee = $2 AND pg_get_userbyid(grantor) = $3
       AND coalesce(nspname, '') = $4`,
    [catalogTypes[text(values, "objectType")], oid, text(values, "owner"), text(values, "schema")],
    "could not read default privileges",
  );
  return rows.map((row) => row.privilege);
}
