// Explicit Congestion Notification (RFC 3168): the two lower bits of the traffic class.

import { Packet } from "../abi/packet";
import { be16, setBe16 } from "../wire/bytes";
import { IPV4_CHECKSUM, IPV4_TOS } from "../wire/ipv4";
import { applyChange, change16 } from "./checksum";

const ECN_MASK: u8 = 3;
const ECN_CE: u8 = 3;

const ECN_ECT1: u8 = 1;

/**
 * The ECN field of a packet that leaves a tunnel, by its own and that of the header it came in (RFC 6040, 4.2).
 * @returns -1: it must be dropped, for it has met congestion and would not say so
 */
export function decapsulatedEcn(inner: u8, outer: u8): i32 {
  const own = inner & ECN_MASK;
  const came = outer & ECN_MASK;
  if (own == 0) return came == ECN_CE ? -1 : 0;
  if (own == ECN_CE || came == ECN_CE) return ECN_CE;
  return came == ECN_ECT1 ? ECN_ECT1 : own;
}

/** Traffic class of an IP packet: DSCP and ECN. Needs Packet.isIp. */
export function trafficClass(p: Packet): u8 {
  return p.isIpv4 ? load<u8>(p.ip, IPV4_TOS) : <u8>(be16(p.ip) >> 4);
}

/** Sets the ECN field; the header's checksum follows. Needs Packet.isIp. */
export function setEcn(p: Packet, ecn: u8): void {
  const before = be16(p.ip);
  if (p.isIpv6) {
    setBe16(p.ip, (before & ~((<u16>ECN_MASK) << 4)) | ((<u16>ecn) << 4));
    return;
  }
  const after = (before & ~(<u16>ECN_MASK)) | <u16>ecn;
  if (after == before) return;
  setBe16(p.ip, after);
  applyChange(p.ip + IPV4_CHECKSUM, change16(before, after));
}

/** Says that the packet has experienced congestion. @returns false: it is not IP, or its ends do not know ECN */
export function markCongestion(p: Packet): bool {
  if (p.isIpv4) {
    const at = p.ip + IPV4_TOS;
    const tos = load<u8>(at);
    if ((tos & ECN_MASK) == 0) return false;
    const before = be16(p.ip);
    store<u8>(at, tos | ECN_CE);
    applyChange(p.ip + IPV4_CHECKSUM, change16(before, be16(p.ip)));
    return true;
  }
  if (!p.isIpv6) return false;
  // Version 4 bits, traffic class 8, flow label 20.
  const word = be16(p.ip);
  if (((word >> 4) & <u16>ECN_MASK) == 0) return false;
  setBe16(p.ip, word | ((<u16>ECN_CE) << 4));
  return true;
}
