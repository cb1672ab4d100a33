/** Of ipip, gre and vxlan: both ends are of one family, or there is no outer header. */
import { parseAddress } from "../../params/addresses.ts";
import type { ParamValues } from "../../params/types.ts";
import type { Contradiction } from "./index.ts";

export function tunnelContradictions(params: ParamValues): Contradiction[] {
  const [local, remote] = [params["local"] as string, params["remote"] as string];
  const [here, there] = [local, remote].map((address) => parseAddress(address)!.family);
  if (here === there) return [];
  const message = `remote wants to be an IPv${here} address as local ${local} is, has ${remote}`;
  return [{ path: ["remote"], message }];
}
