// What most packets are: TCP or UDP over IPv4 without options, whole, its checksums neither left to somebody nor vouched
// for. The header's words and those of the rest are added up in one go, for the header has the pseudo-header's addresses.

import {
  be16,
  IPV4_DESTINATION,
  IPV4_HEADER,
  IPV4_SOURCE,
  IPV4_TOTAL_LENGTH,
  isAllOnes,
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

@unmanaged
export class Plain {
  /** @returns false: its checksums are not right, or it is of another kind; nothing was counted */
  @inline static isRight(p: Packet): bool {
    if ((p.flags & ~(PACKET_FLAG_BROADCAST | PACKET_FLAG_MULTICAST)) != PACKET_FLAG_IPV4) return false;
    const ip = p.ip;
    const transport = p.transport;
    if (transport - ip != <usize>IPV4_HEADER) return false;
    const protocol = p.protocol;
    let bytes: u32;
    if (protocol == PROTOCOL_UDP) bytes = be16(transport + UDP_LENGTH);
    else if (protocol == PROTOCOL_TCP) bytes = <u32>be16(ip + IPV4_TOTAL_LENGTH) - IPV4_HEADER;
    else return false;
    const addresses = <u64>load<u32>(ip, IPV4_SOURCE) + <u64>load<u32>(ip, IPV4_DESTINATION);
    const header = <u64>load<u32>(ip) + <u64>load<u32>(ip, 4) + <u64>load<u32>(ip, 8) + addresses;
    if (!isAllOnes(header)) return false;
    // RFC 768: zero means that the sender computed none.
    if (protocol == PROTOCOL_UDP && load<u16>(transport, UDP_CHECKSUM) == 0) return true;
    const pseudo = addresses + ((<u64>protocol) << 8) + <u64>bswap<u32>(bytes);
    return isAllOnes(pseudo + (bytes < 64 ? ShortSum.of(transport, bytes) : sumWords(transport, bytes)));
  }
}
