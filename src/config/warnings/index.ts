/**
 * Of built-in filters, what is allowed but hardly meant. A file a kind. Looked for when somebody asks (`pktflow check`): a run need
 * not wait for it.
 */
import type { ParamValues } from "../../params/types.ts";
import { shadowedRules } from "./acl.ts";
import { sharedOutsides } from "./nat.ts";

/** Keys and indices that lead to a place among a filter's parameters. */
export type Place = (string | number)[];

export interface Warning {
  code: string;
  path: Place;
  /** `where` is file and line of `other`. */
  message: (where: string) => string;
  other: { filter: string; path: Place };
}

export interface Warned {
  id: string;
  kind: string;
  params: ParamValues;
}

const OF_ONE: Record<string, (filter: Warned) => Warning[]> = { acl: shadowedRules };
/** Of a filter beside those of its kind that stand before it. */
const OF_SEVERAL: Record<string, (filter: Warned, before: Warned[]) => Warning[]> = { nat: sharedOutsides };

export function warningsOf(filter: Warned, others: Warned[]): Warning[] {
  const { kind } = filter;
  const own = Object.hasOwn(OF_ONE, kind) ? OF_ONE[kind](filter) : [];
  if (!Object.hasOwn(OF_SEVERAL, kind)) return own;
  const before = others.slice(0, others.indexOf(filter)).filter((other) => other.kind === kind);
  return [...own, ...OF_SEVERAL[kind](filter, before)];
}
