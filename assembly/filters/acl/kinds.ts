// What a rule's words mean in numbers.

import {
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from "pktflow/assembly";
import { KIND_ICMP, KIND_OTHER, KIND_TCP, KIND_UDP } from "./rule";

/** The upper `length` bits of 64. */
export function mask64(length: u32): u64 {
  return length == 0 ? 0 : ~(<u64>0) << (<u64>(64 - length));
}

export function kindOf(protocol: u8, isIpv4: bool): u32 {
  if (protocol == PROTOCOL_TCP) return KIND_TCP;
  if (protocol == PROTOCOL_UDP) return KIND_UDP;
  return protocol == (isIpv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6) ? KIND_ICMP : KIND_OTHER;
}

export function ethertypeOf(isIpv4: bool): u32 {
  return <u32>(isIpv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
}
