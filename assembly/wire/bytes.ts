// Network byte order. Wasm loads are little-endian and need no alignment.
//
// Example: the first two bytes behind a UDP header.
//
//   if (p.transport + 10 <= p.ipEnd) p.mark = be16(p.transport + 8);

/**
 * 16 bits in network byte order, as a number. The address is not checked.
 * @param at address, any
 */
export function be16(at: usize): u16 {
  return bswap<u16>(load<u16>(at));
}
/**
 * 32 bits in network byte order, as a number. The address is not checked.
 * @param at address, any
 * @example
 *   const word32 = be32(p.ip + 12);
 */
export function be32(at: usize): u32 {
  return bswap<u32>(load<u32>(at));
}
/**
 * 64 bits in network byte order, as a number. The address is not checked.
 * @param at address, any
 * @example
 *   const word64 = be64(p.ip + 12);
 */
export function be64(at: usize): u64 {
  return bswap<u64>(load<u64>(at));
}
/**
 * Writes 16 bits in network byte order. The address is not checked, and no checksum follows.
 * @param at address, any
 * @param value to write
 * @example
 *   setBe16(<usize>p.slot + 16, 1);
 */
export function setBe16(at: usize, value: u16): void {
  store<u16>(at, bswap<u16>(value));
}
/**
 * Writes 32 bits in network byte order. The address is not checked, and no checksum follows.
 * @param at address, any
 * @param value to write
 * @example
 *   setBe32(<usize>p.slot + 16, 1);
 */
export function setBe32(at: usize, value: u32): void {
  store<u32>(at, bswap<u32>(value));
}
/**
 * Writes 64 bits in network byte order. The address is not checked, and no checksum follows.
 * @param at address, any
 * @param value to write
 * @example
 *   setBe64(<usize>p.slot + 16, 1);
 */
export function setBe64(at: usize, value: u64): void {
  store<u64>(at, bswap<u64>(value));
}
