// Which combinations of TCP flags a rule is about, as a bit for each of the 256.

import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from "pktflow/assembly";
import { Rule, TcpFlag } from "./params";
import { setBit } from "./rule";

/** One of the words of tcp-flags must be true, and all flags of tcp-flags-set and -clear must be as they say. */
export function setTcpFlags(bits: usize, rule: Rule): void {
  let set: u32 = 0;
  let clear: u32 = 0;
  // The words stand in the order of the flags' bits.
  for (let i = 0; i < rule.tcpFlagsSet.length; i++) set |= 1 << rule.tcpFlagsSet.at(i);
  for (let i = 0; i < rule.tcpFlagsClear.length; i++) clear |= 1 << rule.tcpFlagsClear.at(i);
  for (let flags: u32 = 0; flags < 256; flags++) {
    if ((flags & set) != set || (flags & clear) != 0) continue;
    let isTrue = rule.tcpFlags.length == 0;
    for (let i = 0; i < rule.tcpFlags.length && !isTrue; i++) isTrue = isWord(flags, rule.tcpFlags.at(i));
    if (isTrue) setBit(bits, flags);
  }
}

function isWord(flags: u32, word: u8): bool {
  const opening = flags & <u32>(TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN);
  if (word == TcpFlag.syn) return opening == <u32>TCP_SYN;
  if (word == TcpFlag.synAck) return opening == <u32>(TCP_SYN | TCP_ACK);
  if (word == TcpFlag.established) return (flags & <u32>(TCP_ACK | TCP_RST)) != 0;
  if (word == TcpFlag.fin) return (flags & <u32>TCP_FIN) != 0;
  if (word == TcpFlag.rst) return (flags & <u32>TCP_RST) != 0;
  return flags == 0;
}
