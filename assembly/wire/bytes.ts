// Network byte order. Wasm loads are little-endian and need no alignment.
//
// Example: the first two bytes behind a UDP header.
//
//   if (p.transport + 10 <= p.ipEnd) p.mark = be16(p.transport + 8);

export function be16(at: usize): u16 {
  return bswap<u16>(load<u16>(at));
}
export function be32(at: usize): u32 {
  return bswap<u32>(load<u32>(at));
}
export function be64(at: usize): u64 {
  return bswap<u64>(load<u64>(at));
}
export function setBe16(at: usize, value: u16): void {
  store<u16>(at, bswap<u16>(value));
}
export function setBe32(at: usize, value: u32): void {
  store<u32>(at, bswap<u32>(value));
}
export function setBe64(at: usize, value: u64): void {
  store<u64>(at, bswap<u64>(value));
}
