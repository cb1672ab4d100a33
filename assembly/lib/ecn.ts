// Explicit Congestion Notification (RFC 3168): the two lower bits of the traffic class.

import { Packet } from "../abi/packet";
import { be16, setBe16 } from "../wire/bytes";
import { IPV4_CHECKSUM, IPV4_TOS } from "../wire/ipv4";
import { applyChange, change16 } from "./checksum";

const ECN_MASK: u8 = 3;
const ECN_CE: u8 = 3;

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
