/** What RFC 6052, 2.2 wants of the prefix of nat64 beside its family and bounds. */
import { splitPrefix } from "../../params/addresses.ts";
import type { ParamValues } from "../../params/types.ts";
import type { Contradiction } from "./index.ts";

const LENGTHS = [32, 40, 48, 56, 64, 96];
/** Bits 64 to 71 (the "u" octet). */
const ZERO_OCTET = 8;

export function nat64Contradictions(params: ParamValues): Contradiction[] {
  const path = ["prefix"];
  const { address, length } = splitPrefix(params["prefix"] as string);
  if (!LENGTHS.includes(length)) {
    const message = `prefix wants a length of ${LENGTHS.slice(0, -1).join(", ")} or 96, has ${length} (RFC 6052, 2.2)`;
    return [{ path, message }];
  }
  if (address.bytes[ZERO_OCTET] === 0) return [];
  return [{ path, message: "prefix wants bits 64 to 71 to be zero (RFC 6052, 2.2)" }];
}
