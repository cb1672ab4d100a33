// The flow hash: the same for both directions, since the endpoints' hashes are added up before the last mixing.
// Multiply and fold the upper half onto the lower (as in Knuth's multiplicative hashing), with splitmix64's constants. It
// is not keyed: whoever chooses the headers can choose the hash, so a table that strangers fill must bound its probing.

const M1: u64 = 0xbf58476d1ce4e5b9;
const M2: u64 = 0x94d049bb133111eb;
const M3: u64 = 0x9e3779b97f4a7c15;

/** Hash of an IPv4 address and a port; both in any order of bytes, as long as it is one. */
export function endpoint4(address: u32, port: u16): u64 {
  return scramble(((<u64>address) << 16) | <u64>port);
}

/** Hash of an IPv6 address and a port. */
export function endpoint6(high: u64, low: u64, port: u16): u64 {
  return scramble((scramble(high) ^ low) * M2 + <u64>port);
}

export function flowHash(a: u64, b: u64, protocol: u32): u32 {
  const x = (a + b + <u64>protocol) * M3;
  return <u32>(x ^ (x >> 32));
}

function scramble(x: u64): u64 {
  x = x * M1;
  return x ^ (x >> 32);
}
