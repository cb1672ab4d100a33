// Twice NAT: both ends of a packet change, so that hosts whose networks have the same addresses reach each other (VPP's
// `nat44 ... twice-nat`, Cisco's "outside local" addresses).
//
//   forward with twice-nat   203.0.113.7:999 > 198.51.100.2:80   becomes   10.77.0.250:999 > 10.77.0.5:80
//                            the source gets an address of `twice-nat`, and a port of it, as long as the session lives
//   remote                   10.77.0.5:999 > 10.99.0.7:80        becomes   198.51.100.2:999 > 10.77.0.7:80
//                            the destination is what a host outside is called inside
//
// Such sessions have both whole tuples, of a kind of their own, and each packet of theirs takes its turn through slow.ts
// (special.ts). A source outside may have an address of the inside: `outside-mark` says where it comes from.

import { outsideOf } from "./one-to-one-table";
import { hasTwice, mappings, outsides, poolOf, remotes, twiceAt, twices } from "./settings";

/** Ports that sources get: as `ports` by default, the servers' stay what they are. */
const FIRST: u32 = 1024;
const LAST: u32 = 65535;

// What takeTwicePort() took, as in packets.
export let twiceAddress: u32 = 0;
export let twicePort: u16 = 0;

/**
 * An address and port of the inside for a remote endpoint: each remote address always gets the same address. All as in packets.
 * @returns false: it has none left
 */
export function takeTwicePort(protocol: u8, remote: u32, remotePort: u16): bool {
  const count = twices;
  if (count == 0) return false;
  const chosen = <u32>((<u64>(bswap<u32>(remote) * 0x9e3779b1) * <u64>count) >> 32);
  twiceAddress = load<u32>(twiceAt + ((<usize>chosen) << 2));
  if (twiceAddress == remote) return false;
  const pool = mappings.pool(twicePool(chosen, protocol));
  const port = pool.takeLike(bswap<u16>(remotePort), FIRST, LAST, true);
  if (port < 0) return false;
  twicePort = bswap<u16>(<u16>port);
  return true;
}

/** Gives it back. One that is no port of theirs, of a session by `remote`, is nobody's. */
export function leaveTwicePort(protocol: u8, address: u32, port: u16): void {
  const index = twiceIndex(address);
  if (index >= 0) mappings.pool(twicePool(<u32>index, protocol)).release(bswap<u16>(port));
}

/** Their pools follow those of the outside addresses. */
function twicePool(index: u32, protocol: u8): u32 {
  return poolOf(outsides + index, protocol);
}

/** Index of an address that sources get, or -1. */
export function twiceIndex(address: u32): i32 {
  for (let i: u32 = 0; i < twices; i++) {
    if (load<u32>(twiceAt + ((<usize>i) << 2)) == address) return <i32>i;
  }
  return -1;
}

/** Does a packet from inside to this address change both ends? */
export function isTwiceDestination(address: u32): bool {
  return hasTwice && (remoteOf(address) != 0 || twiceIndex(address) >= 0);
}

/** What a host that is called so inside is outside, or 0. */
export function remoteOf(address: u32): u32 {
  return remotes == 0 ? 0 : outsideOf(remotes, address);
}
