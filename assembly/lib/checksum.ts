// The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//
// A sum is the ones' complement sum of 16-bit words as they lie in memory, folded to 16 bits, not complemented. It is
// kept in memory order: a ones' complement sum of swapped words is the swapped sum (RFC 1071, 2B), so nothing is
// swapped per word, and a checksum goes to its field with store<u16>. Sums may be added with + and folded again.
//
// A change is the sum of ~old + new over the words that changed (RFC 1624, equation 3: HC' = ~(~HC + ~m + m')).
// Make it once, then apply it to every checksum that covers those words: an address is in the IPv4 header's and,
// through the pseudo-header, in the transport's.
//
// Example: another source address, in the IPv4 header's checksum and in TCP's. Ipv4.of(p).source = 0x0a000001 does this and more.
//
//   const change = change32(RawIpv4.of(p).source, 0x0a000001);
//   RawIpv4.of(p).source = 0x0a000001;
//   applyChange(p.ip + IPV4_CHECKSUM, change);
//   applyChange(p.transport + TCP_CHECKSUM, change);

/**
 * Adds the carries back in. Never fails.
 * @param sum of 16-bit words, not folded
 * @returns 0 to 65535; 0 for a sum of 0 only
 */
export function fold(sum: u64): u32 {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  return <u32>((sum & 0xffff) + (sum >> 16));
}

/**
 * Does an unfolded sum over data and its checksum fold to all ones (RFC 1071), so that the checksum is right? It does if
 * 65535 divides it, and a number is divided by an odd one if times its inverse modulo 2^64 it is small enough (Granlund
 * and Montgomery 1994, section 9): one multiplication instead of three folds.
 * @param sum not 0: not checked
 * @example
 *   const isRight = isAllOnes(sumWords(p.ip, RawIpv4.of(p).headerLength));
 */
export function isAllOnes(sum: u64): bool {
  // The inverse of 2^16 - 1 is -(1 + 2^16 + 2^32 + 2^48), and the largest quotient is that without the sign.
  return sum * 0xfffefffefffeffff <= 0x0001000100010001;
}

/**
 * The checksum that makes a sum come out right: for store<u16> into the field. Never fails.
 * @param sum folded or not
 */
export function complement(sum: u32): u16 {
  return <u16>~fold(sum);
}

/**
 * Sum of bytes; an odd last one is padded with zero. Reads nothing beyond.
 * @param at address of the first byte, any
 * @param bytes how many, up to 512 KiB: not checked
 * @param initial a sum to begin with, of a pseudo-header say
 * @returns folded
 * @example
 *   const bytes = <u32>(p.ipEnd - p.transport);
 *   store<u16>(p.transport, 0, UDP_CHECKSUM);
 *   const whole = sum(p.transport, bytes, sumPseudoIpv4(p.ip, PROTOCOL_UDP, bytes));
 *   store<u16>(p.transport, complement(fold(whole)), UDP_CHECKSUM);
 */
export function sum(at: usize, bytes: u32, initial: u32 = 0): u32 {
  return fold(sumWords(at, bytes) + <u64>initial);
}

/**
 * As sum(), not folded: below 2^36.
 * @param at address of the first byte, any
 * @param bytes how many, up to 512 KiB: not checked
 */
export function sumWords(at: usize, bytes: u32): u64 {
  if (bytes < 64) return ShortSum.of(at, bytes);
  const vectors = bytes & ~15;
  return sumVectors(at, vectors) + ShortSum.of(at + vectors, bytes & 15);
}

/** For its one method: the compiler inlines methods that say so, and a call costs as much as 16 bytes. @internal */
@unmanaged
export class ShortSum {
  /** sumWords for a few bytes: four at a time. @internal */
  @inline static of(at: usize, bytes: u32): u64 {
    let total: u64 = 0;
    const end = at + (bytes & ~15);
    while (at < end) {
      total += <u64>load<u32>(at) + <u64>load<u32>(at, 4) + (<u64>load<u32>(at, 8) + <u64>load<u32>(at, 12));
      at += 16;
    }
    if ((bytes & 8) != 0) {
      total += <u64>load<u32>(at) + <u64>load<u32>(at, 4);
      at += 8;
    }
    if ((bytes & 4) != 0) {
      total += <u64>load<u32>(at);
      at += 4;
    }
    if ((bytes & 2) != 0) {
      total += <u64>load<u16>(at);
      at += 2;
    }
    if ((bytes & 1) != 0) total += <u64>load<u8>(at);
    return total;
  }

  /**
   * Sum of the last 1 to 15 bytes before `end`, of 16 or more that may be read there, without a branch: of two words of
   * 8 bytes what is not asked for is shifted or masked away.
   * @internal
   */
  @inline static behind(end: usize, bytes: u32): u64 {
    const odd = <usize>bytes & 7;
    const last = (load<u64>(end - 8) >> 1) >> (63 - ((<u64>odd) << 3));
    const first = load<u64>(end - 8 - odd) & (0 - (<u64>bytes >> 3));
    return (last & 0xffffffff) + (last >> 32) + (first & 0xffffffff) + (first >> 32);
  }
}

/**
 * Sum of vectors of 16 bytes, in four sums, so that the additions do not wait for each other. A lane gets at most
 * 2 * 65535 a vector: 512 KiB do not fill it. @param bytes a multiple of 16
 */
function sumVectors(at: usize, bytes: u32): u64 {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let c = i32x4.splat(0);
  let d = i32x4.splat(0);
  const end = at + bytes;
  for (; at + 64 <= end; at += 64) {
    a = i32x4.add(a, i32x4.extadd_pairwise_i16x8_u(v128.load(at)));
    b = i32x4.add(b, i32x4.extadd_pairwise_i16x8_u(v128.load(at, 16)));
    c = i32x4.add(c, i32x4.extadd_pairwise_i16x8_u(v128.load(at, 32)));
    d = i32x4.add(d, i32x4.extadd_pairwise_i16x8_u(v128.load(at, 48)));
  }
  for (; at < end; at += 16) a = i32x4.add(a, i32x4.extadd_pairwise_i16x8_u(v128.load(at)));
  const all = i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
  const first = <u64>(<u32>i32x4.extract_lane(all, 0)) + <u64>(<u32>i32x4.extract_lane(all, 1));
  return first + <u64>(<u32>i32x4.extract_lane(all, 2)) + <u64>(<u32>i32x4.extract_lane(all, 3));
}

/**
 * Sum of an IPv4 header with its options. Needs that it is whole: not checked.
 * @param ip its address
 * @returns 0xffff: its checksum is right
 * @example
 *   if (p.isIpv4 && sumIpv4Header(p.ip) != 0xffff) return OUTPUT_DROP;
 */
export function sumIpv4Header(ip: usize): u32 {
  return sum(ip, (<u32>load<u8>(ip) & 15) << 2);
}

/**
 * Sum of the pseudo-header of TCP, UDP and others over IPv4 (RFC 9293, 3.1; RFC 768).
 * @param ip address of the IPv4 header: not checked
 * @param protocol of the transport header
 * @param length bytes of transport header and data
 * @returns folded
 */
export function sumPseudoIpv4(ip: usize, protocol: u8, length: u32): u32 {
  return fold(
    <u64>load<u32>(ip, 12) + <u64>load<u32>(ip, 16) + ((<u64>protocol) << 8) + <u64>bswap<u32>(length),
  );
}

/**
 * Sum of the pseudo-header over IPv6 (RFC 8200, 8.1), for ICMPv6 too. While a Routing header has segments left, the
 * destination that the sender summed is not the one in the header: see hasSegmentsLeft.
 * @param ip address of the IPv6 header: not checked
 * @param protocol of the transport header
 * @param length bytes of transport header and data
 * @returns folded
 * @example
 *   const upper = sumPseudoIpv6(p.ip, PROTOCOL_ICMPV6, <u32>(p.ipEnd - p.transport));
 */
export function sumPseudoIpv6(ip: usize, protocol: u8, length: u32): u32 {
  return fold(
    <u64>load<u32>(ip, 8) +
      <u64>load<u32>(ip, 12) +
      <u64>load<u32>(ip, 16) +
      <u64>load<u32>(ip, 20) +
      <u64>load<u32>(ip, 24) +
      <u64>load<u32>(ip, 28) +
      <u64>load<u32>(ip, 32) +
      <u64>load<u32>(ip, 36) +
      ((<u64>protocol) << 8) +
      <u64>bswap<u32>(length),
  );
}

/**
 * Change of one 16-bit word at an even offset. Never fails.
 * @param from before, in host order as the header views give it
 * @param to after
 * @example
 *   const moved = change16(RawTcp.of(p).window, 1000);
 *   RawTcp.of(p).window = 1000;
 *   applyChange(p.transport + TCP_CHECKSUM, moved);
 */
export function change16(from: u16, to: u16): u32 {
  return fold(<u64>bswap<u16>(~from) + <u64>bswap<u16>(to));
}

/**
 * Change of one 32-bit word (an IPv4 address) at an even offset. Never fails.
 * @param from before, in host order
 * @param to after
 */
export function change32(from: u32, to: u32): u32 {
  return fold(<u64>bswap<u32>(~from) + <u64>bswap<u32>(to));
}

/**
 * Change of 128 bits (an IPv6 address) at an even offset. Never fails.
 * @param fromHigh upper 64 bits before, in host order
 * @param fromLow lower 64 bits before
 * @param toHigh upper 64 bits after
 * @param toLow lower 64 bits after
 * @example
 *   const ip = RawIpv6.of(p);
 *   const other = change128(ip.sourceHigh, ip.sourceLow, 0x20010db800000000, 1);
 *   ip.setSource(0x20010db800000000, 1);
 *   applyChangeUdp(p.transport + UDP_CHECKSUM, other);
 */
export function change128(fromHigh: u64, fromLow: u64, toHigh: u64, toLow: u64): u32 {
  return fold(
    <u64>change32(<u32>(fromHigh >> 32), <u32>(toHigh >> 32)) +
      <u64>change32(<u32>fromHigh, <u32>toHigh) +
      <u64>change32(<u32>(fromLow >> 32), <u32>(toLow >> 32)) +
      <u64>change32(<u32>fromLow, <u32>toLow),
  );
}

/**
 * Applies a change to a checksum. A wrong one is as wrong afterwards; the field is not checked.
 * @param field address of the checksum
 * @param change what change16() and its like gave, or several of them added up
 */
export function applyChange(field: usize, change: u32): void {
  store<u16>(field, <u16>~fold((<u64>~load<u16>(field) & 0xffff) + <u64>change));
}

/**
 * The same for UDP, where 0 means that there is none, and stays, and a computed 0 is sent as 0xffff (RFC 768). The field is not checked.
 * @param field address of the checksum
 * @param change as for applyChange()
 */
export function applyChangeUdp(field: usize, change: u32): void {
  const old = load<u16>(field);
  if (old == 0) return;
  const changed = <u16>~fold((<u64>~old & 0xffff) + <u64>change);
  store<u16>(field, changed == 0 ? 0xffff : changed);
}

/**
 * The same for a partial checksum (PACKET_FLAG_CSUM_PARTIAL): the field holds the pseudo-header's sum itself. It is not checked.
 * @param field address of the checksum
 * @param change as for applyChange(), of the pseudo-header alone
 * @example
 *   const change = change32(RawIpv4.of(p).source, 1);
 *   RawIpv4.of(p).source = 1;
 *   applyChange(p.ip + IPV4_CHECKSUM, change);
 *   if (p.has(PACKET_FLAG_CSUM_PARTIAL)) applyChangePartial(p.transport + TCP_CHECKSUM, change);
 */
export function applyChangePartial(field: usize, change: u32): void {
  store<u16>(field, <u16>fold(<u64>load<u16>(field) + <u64>change));
}
