// What most packets are, found in one go: TCP or UDP over IPv4 without options, not a fragment, to one host, on layer 3.
// The same proofs as in dissect.ts, in the words that the header's bytes make up in memory, and two stores. Whatever else
// it is, or is wrong, is left to dissect.ts.
//
//   data  0       8        9           12       16            20     24
//        +-------+-----+----------+---+--------+-------------+------+-----------------------+
//        | start | TTL | protocol |   | source | destination | ports| UDP length            |
//        +-------+-----+----------+---+--------+-------------+------+-----------------------+
//   start: version and IHL, TOS, total length, id, fragment

import { DESCRIPTOR_ERROR, DESCRIPTOR_FLAGS, DESCRIPTOR_L3, PACKET_FLAG_IPV4 } from "../abi/layout";
import { Packet } from "../abi/packet";
import {
  IPV4_DESTINATION,
  IPV4_HEADER,
  IPV4_PROTOCOL,
  IPV4_TOTAL_LENGTH,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from "../wire/ipv4";
import { TCP_DATA_OFFSET, TCP_HEADER } from "../wire/tcp";
import { UDP_HEADER, UDP_LENGTH } from "../wire/udp";
import { checksumFlags } from "./dissect";

/** In `start`: version, IHL, the flag more fragments and the fragment's offset, and what they must be. */
const PLAIN_MASK: u64 = 0xff3f0000000000ff;
const PLAIN: u64 = 0x45;
/** First byte of a destination that is not one host: 224.0.0.0/4 and 240.0.0.0/4. */
const NOT_ONE_HOST: u32 = 0xe0;

/** For its one method: the compiler inlines methods that say so, and the call would cost as much as a fifth of it. */
@unmanaged
export class PlainPacket {
  /** @returns false: it is something else, and nothing of the descriptor has changed */
  @inline static dissect(p: Packet): bool {
    const data = <usize>p.data;
    const length = p.length;
    if (length < IPV4_HEADER + UDP_HEADER) return false;
    const start = load<u64>(data);
    if ((start & PLAIN_MASK) != PLAIN) return false;
    // Byte by byte, which is fewer instructions than be16() of a word.
    const totalLength =
      ((<u32>load<u8>(data, IPV4_TOTAL_LENGTH)) << 8) | <u32>load<u8>(data, IPV4_TOTAL_LENGTH + 1);
    if (!isWithin(totalLength, IPV4_HEADER + UDP_HEADER, length)) return false;
    const destination = load<u32>(data, IPV4_DESTINATION);
    if ((destination & NOT_ONE_HOST) == NOT_ONE_HOST) return false;
    const protocol = load<u8>(data, IPV4_PROTOCOL);
    const available = totalLength - IPV4_HEADER;
    let headerLength = UDP_HEADER;
    if (protocol == PROTOCOL_UDP) {
      const udpLength =
        ((<u32>load<u8>(data, IPV4_HEADER + UDP_LENGTH)) << 8) |
        <u32>load<u8>(data, IPV4_HEADER + UDP_LENGTH + 1);
      if (!isWithin(udpLength, UDP_HEADER, available)) return false;
    } else {
      if (protocol != PROTOCOL_TCP || available < TCP_HEADER) return false;
      headerLength = (<u32>load<u8>(data, IPV4_HEADER + TCP_DATA_OFFSET) >> 4) << 2;
      if (!isWithin(headerLength, TCP_HEADER, available)) return false;
    }
    const flags = checksumFlags(p) | PACKET_FLAG_IPV4;
    // l3 is 0, l4 after the IP header, then payload and protocol; the output is next.
    const offsets =
      ((<u64>IPV4_HEADER) << 16) | ((<u64>(IPV4_HEADER + headerLength)) << 32) | ((<u64>protocol) << 48);
    const at = changetype<usize>(p);
    store<u64>(at, offsets, DESCRIPTOR_L3);
    store<u32>(at, flags, DESCRIPTOR_FLAGS);
    store<u16>(at, 0, DESCRIPTOR_ERROR);
    return true;
  }
}

/** first <= value <= last, in one comparison; needs first <= last. */
function isWithin(value: u32, first: u32, last: u32): bool {
  return value - first <= last - first;
}
