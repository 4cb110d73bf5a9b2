import type { ResourceDefinition } from "../common/plugin.ts";
import type { Schema } from "../common/schema.ts";
import type { Properties } from "../common/values.ts";
import { BridgeError } from "./bridge.ts";
import type { Server, Session } from "./connection.ts";
import { refuseImport } from "./privileges.ts";
import { identifier } from "./sql.ts";
import { flag, text } from "./state.ts";

const properties: Schema = {
  role: { kind: "string", required: true, forceNew: true },
  grantRole: { kind: "string", required: true, forceNew: true },
  withAdminOption: { kind: "boolean", forceNew: true, default: false },
};

export const grantRole: ResourceDefinition<Server> = {
  token: "postgresql:index/grantRole:GrantRole",
  properties,

  async create(inputs, { config: server, urn }) {
    const option = flag(inputs, "withAdminOption") ? " WITH ADMIN OPTION" : "";
    const statement = `GRANT ${identifier(text(inputs, "grantRole"))} TO ${identifier(text(inputs, "role"))}`;
    await server.transaction("", "", async (session) => {
      await revoke(session, inputs);
      await session.run(`${statement}${option}`, undefined, "could not execute grant query");
    });
    const found = await readMembership(server, inputs);
    if (found === undefined)
      throw new BridgeError(`expected non-nil error with nil state during Create of ${urn}`);
    return { id: idOf(found), outputs: found };
  },

  async read(_id, state, _inputs, { config: server }) {
    refuseImport(state, "postgresql_grant_role");
    const found = await readMembership(server, state);
    if (found === undefined) return undefined;
    return { id: idOf(found), outputs: found };
  },

  async delete(_id, state, { config: server }) {
    await server.session("", (session) => revoke(session, state));
  },
};

async function revoke(session: Session, values: Properties): Promise<void> {
  await session.run(
    `REVOKE ${identifier(text(values, "grantRole"))} FROM ${identifier(text(values, "role"))}`,
    undefined,
    "could not execute revoke query",
  );
}

async function readMembership(server: Server, values: Properties): Promise<Properties | undefined> {
  const [row] = await server.session("", (session) =>
    session.run<{ admin: boolean }>(
      `SELECT admin_option AS admin FROM pg_auth_members
       WHERE pg_get_userbyid(member) = $1 AND pg_get_userbyid(roleid) = $2`,
      [text(values, "role"), text(values, "grantRole")],
      "error reading grant role",
    ),
  );
  if (row === undefined) return undefined;
  return {
    role: text(values, "role"),
    grantRole: text(values, "grantRole"),
    withAdminOption: row.admin,
  };
}

function idOf(values: Properties): string {
  return `${text(values, "role")}_${text(values, "grantRole")}_${flag(values, "withAdminOption")}`;
}
