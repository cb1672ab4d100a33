/** IPv4 hosts of a lab as its IPv6 hosts see them: through a nat64 on the way, as an address in its prefix (RFC 6052, 2.2). */
import type { Pipeline } from "../config/types.ts";
import { formatAddress, parseAddress, splitPrefix } from "../params/addresses.ts";

/** Bits 64 to 71, which are zero. */
const ZERO_OCTET = 8;

/** The prefix of a nat64 on a path from a device, if there is one. */
export function prefixFrom(pipeline: Pipeline, device: string): string | undefined {
  const paths = pipeline.paths.filter(({ from }) => from.includes(device));
  const ids = paths.flatMap(({ through }) => through).map(({ filter }) => filter);
  const filter = pipeline.filters.find(({ id, manifest }) => manifest.kind === "nat64" && ids.includes(id));
  return filter?.params["prefix"] as string | undefined;
}

/** @returns canonical text */
export function inPrefix(prefix: string, ipv4: string): string {
  const { address, length } = splitPrefix(prefix);
  const bytes = [...address.bytes];
  let at = length / 8;
  for (const byte of parseAddress(ipv4)!.bytes) {
    if (at === ZERO_OCTET && length !== 96) at++;
    bytes[at++] = byte;
  }
  return formatAddress({ family: 6, bytes });
}
