// What most packets are: TCP or UDP over IPv4 without options, whole, its checksums neither left to somebody nor vouched
// for. A right header adds nothing to a sum, so the rest is summed from the IP header on: in vectors of 16 bytes, of which a
// packet of 64 bytes has four.

import {
  Batch,
  be16,
  IPV4_DESTINATION,
  IPV4_HEADER,
  IPV4_SOURCE,
  IPV4_TOTAL_LENGTH,
  isAllOnes,
  OUTPUT_NEXT,
  PACKET_FLAG_BROADCAST,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_MULTICAST,
  Packet,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  ShortSum,
  sumWords,
  UDP_CHECKSUM,
  UDP_LENGTH,
} from "pktflow/assembly";

/** No output of any filter: the packet is to be looked at again. */
export const NOT_YET: u8 = 0xff;
/** Flags that make no difference here. */
const ANY: u32 = PACKET_FLAG_BROADCAST | PACKET_FLAG_MULTICAST;
/** From here on the call costs nothing. */
const LONG: u32 = 128;

/**
 * Sends on what is plain and right, and gives the others NOT_YET. There is no call in the loop for short packets, so that
 * what it needs stays in registers. @returns whether there are others
 */
export function verifyPlain(b: Batch, count: u32): bool {
  let others: u32 = 0;
  let at = changetype<usize>(b);
  const end = at + ((<usize>count) << 2);
  for (; at < end; at += 4) {
    const p = changetype<Packet>(<usize>load<u32>(at));
    p.output = OUTPUT_NEXT;
    if ((p.flags & ~ANY) == PACKET_FLAG_IPV4) {
      const ip = p.ip;
      const transport = p.transport;
      const protocol = <u32>p.protocol;
      if (transport - ip == <usize>IPV4_HEADER) {
        const addresses = <u64>load<u32>(ip, IPV4_SOURCE) + <u64>load<u32>(ip, IPV4_DESTINATION);
        if (isAllOnes(<u64>load<u32>(ip) + <u64>load<u32>(ip, 4) + <u64>load<u32>(ip, 8) + addresses)) {
          if (protocol == PROTOCOL_UDP) {
            // RFC 768: zero means that the sender computed none.
            if (load<u16>(transport, UDP_CHECKSUM) == 0) continue;
            const bytes = IPV4_HEADER + <u32>be16(transport + UDP_LENGTH);
            const pseudo = addresses + ((<u64>PROTOCOL_UDP) << 8) + <u64>load<u16>(transport, UDP_LENGTH);
            if (isAllOnes(pseudo + (bytes < LONG ? Vectors.sum(ip, bytes) : sumWords(ip, bytes)))) continue;
          } else if (protocol == PROTOCOL_TCP) {
            const bytes = <u32>be16(ip + IPV4_TOTAL_LENGTH);
            const pseudo = addresses + ((<u64>PROTOCOL_TCP) << 8) + <u64>bswap<u32>(bytes - IPV4_HEADER);
            if (isAllOnes(pseudo + (bytes < LONG ? Vectors.sum(ip, bytes) : sumWords(ip, bytes)))) continue;
          }
        }
      }
    }
    p.output = NOT_YET;
    others = 1;
  }
  return others != 0;
}

/** For its one method, which is in line. */
class Vectors {
  /** sumWords for 16 bytes or more, and no more than LONG: what is left behind the vectors is added without a branch. */
  @inline static sum(at: usize, bytes: u32): u64 {
    const end = at + <usize>bytes;
    // Words as signed numbers, 32768 less each, for there is a product of those: two words to a lane.
    let lanes = i32x4.splat(0);
    const last = at + (<usize>bytes & ~15);
    let next = at;
    for (; next < last; next += 16) {
      const words = v128.xor(v128.load(next), i16x8.splat(-32768));
      lanes = i32x4.add(lanes, i32x4.dot_i16x8_s(words, i16x8.splat(1)));
    }
    lanes = i32x4.add(
      lanes,
      i8x16.shuffle(lanes, lanes, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7),
    );
    const two = i64x2.extract_lane(lanes, 0);
    const total = <i64>(<i32>two) + (two >> 32) + <i64>((bytes & ~15) << 14);
    const left = bytes & 15;
    return left == 0 ? <u64>total : <u64>total + ShortSum.behind(end, left);
  }
}
