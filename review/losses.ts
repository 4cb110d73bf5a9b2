import { describeLoss, type Loss } from "./effects.ts";
import { loadParser, reviewScript } from "./script.ts";

export interface Losses {
  readonly losses: readonly Loss[];
  /** What the scripts do that their text does not tell. */
  readonly untold: readonly string[];
}

/**
 * What is lost when scripts run, in their order.
 *
 * @param schema Where unqualified names go.
 */
export async function findLosses(scripts: readonly string[], schema: string): Promise<Losses> {
  if (scripts.length === 0) return { losses: [], untold: [] };
  await loadParser();
  const statements = scripts.flatMap((sql) => reviewScript(sql, schema));
  const all = statements.flatMap(({ losses = [] }) => losses);
  const isWhole = ({ column, how }: Loss) => how === "dropped" && column === undefined;
  const gone = new Set(all.filter(isWhole).map(({ table }) => table));
  // Of a table that is dropped, nothing else is worth telling.
  const losses = all.filter((loss) => isWhole(loss) || !gone.has(loss.table));
  const untold = statements.flatMap(({ kind, syntaxError, untold: what }) => {
    if (what) return [`${kind} ${what}`];
    return syntaxError
      ? [`${kind} cannot be read (${syntaxError.message}): what it does is not known here`]
      : [];
  });
  return {
    losses: [...new Map(losses.map((loss) => [describeLoss(loss), loss])).values()],
    untold: [...new Set(untold)],
  };
}

export async function describeLosses(scripts: readonly string[], schema: string): Promise<string[]> {
  const { losses, untold } = await findLosses(scripts, schema);
  return [...losses.map(describeLoss), ...untold];
}
