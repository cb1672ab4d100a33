// The packet that an ICMP error quotes, cut short as it may be, and what stands behind it (RFC 4884).
//
//   [ICMP (8): type, code, checksum, length | quoted packet | zeros | extension]     with a length; of it, in words of 4 or 8 bytes
//   [ICMP (8)                               | quoted packet]                         without

import { applyChange, applyChangeUdp, fold, Packet, PROTOCOL_UDP } from "pktflow/assembly";
import { checksumOffset } from "pktflow/assembly/lib/segment";

/** RFC 4884, 4.1: what is quoted before an extension is as long at least. */
const LEAST_QUOTE: u32 = 128;

/** Length of the quote that the error says, in words; 0: there is no extension. */
export let quoteWords: u32 = 0;

/** Puts another port into what is quoted of TCP or UDP. @param change of the pseudo-header's addresses */
export function requote(upper: usize, end: usize, protocol: u8, portAt: usize, port: u16, change: u32): void {
  const ofPort = fold(<u64>(<u32>load<u16>(upper + portAt) ^ 0xffff) + <u64>port);
  store<u16>(upper + portAt, port);
  const field = upper + checksumOffset(protocol);
  // RFC 792 promises 64 bits, in which TCP's checksum is not.
  if (field + 2 > end) return;
  if (protocol == PROTOCOL_UDP) applyChangeUdp(field, change + ofPort);
  else applyChange(field, change + ofPort);
}

/**
 * Moves an extension to where it is behind a quote that has become longer or shorter, or leaves it out where it has no room.
 * @param inner where the quoted packet begins now; @param end where it ends, and the extension begins
 * @param extension bytes of it; @param word bytes in which the new length counts; @param most bytes of both
 * @returns bytes from `inner` on
 */
export function placeExtension(
  p: Packet,
  inner: usize,
  end: usize,
  extension: u32,
  word: u32,
  most: u32,
): u32 {
  const quote = <u32>(end - inner);
  quoteWords = 0;
  if (extension == 0) return min(quote, most);
  const padded = max(LEAST_QUOTE, (quote + word - 1) & ~(word - 1));
  const to = inner + padded;
  const hasRoom = to + extension <= <usize>p.slot + p.capacity;
  if (!hasRoom || padded + extension > most || padded / word > 255) return min(quote, most);
  memory.copy(to, end, extension);
  memory.fill(end, 0, padded - quote);
  quoteWords = padded / word;
  return padded + extension;
}

/** Bytes of what is quoted where the error says so, or all: then there is no extension. @param word bytes in which it counts */
export function quoteBytes(words: u32, word: u32, all: u32): u32 {
  const said = words * word;
  return said == 0 || said > all ? all : said;
}
