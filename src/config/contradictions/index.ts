/** Of built-in filters, what a manifest cannot say: parameters that are each right and contradict each other. A file a kind. */
import type { ParamValues } from "../../params/types.ts";
import { natContradictions } from "./nat.ts";
import { nat64Contradictions } from "./nat64.ts";
import { tunnelContradictions } from "./tunnel.ts";

export interface Contradiction {
  /** Keys and indices that lead to the place among the parameters. */
  path: (string | number)[];
  message: string;
}

const BY_KIND: Record<string, (params: ParamValues) => Contradiction[]> = {
  nat: natContradictions,
  nat64: nat64Contradictions,
  ipip: tunnelContradictions,
  gre: tunnelContradictions,
  vxlan: tunnelContradictions,
};

export function contradictions(kind: string, params: ParamValues): Contradiction[] {
  return Object.hasOwn(BY_KIND, kind) ? BY_KIND[kind](params) : [];
}
