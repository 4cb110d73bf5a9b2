import provider from "@pulumi/pulumi/proto/provider_pb.js";
import type { CheckResult, DiffResult } from "./definition.ts";
import type { DiffKind } from "./diff.ts";
import { toStruct } from "./values.ts";

/** @param resourceName Stands before the path of a property that failed. */
export function checkResponse(
  resourceName: string,
  { inputs, failures }: CheckResult,
): provider.CheckResponse {
  const response = new provider.CheckResponse();
  response.setInputs(toStruct(inputs));
  response.setFailuresList(
    failures.map(({ property, reason }) => {
      // The path goes into the text: the engine would print the value of a property named in its own field.
      const failure = new provider.CheckFailure();
      const place = property === "" ? "" : `. Examine values at '${resourceName}.${property}'.`;
      failure.setReason(reason + place);
      return failure;
    }),
  );
  return response;
}

const diffKinds: Record<DiffKind, provider.PropertyDiff.Kind> = provider.PropertyDiff.Kind;

/** @param detailed Whether the paths of changes are told, and not just their top-level names. */
export function diffResponse(
  { detailedDiff, deleteBeforeReplace }: DiffResult,
  detailed: boolean,
): provider.DiffResponse {
  const response = new provider.DiffResponse();
  const { DIFF_SOME, DIFF_NONE } = provider.DiffResponse.DiffChanges;
  const changes = Object.entries(detailedDiff);
  const topLevel = (path: string) => path.split(/[.[]/, 1)[0] ?? path;
  const replaces = changes.filter(([, kind]) => kind.endsWith("_REPLACE")).map(([path]) => topLevel(path));
  response.setChanges(changes.length > 0 ? DIFF_SOME : DIFF_NONE);
  response.setDiffsList([...new Set(changes.map(([path]) => topLevel(path)))].sort());
  response.setReplacesList([...new Set(replaces)].sort());
  response.setDeletebeforereplace(replaces.length > 0 && deleteBeforeReplace);
  response.setHasdetaileddiff(detailed);
  if (!detailed) return response;
  for (const [path, kind] of changes) {
    const property = new provider.PropertyDiff();
    property.setKind(diffKinds[kind]);
    response.getDetaileddiffMap().set(path, property);
  }
  return response;
}
