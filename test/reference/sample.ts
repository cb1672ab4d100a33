/** Which flows and packets `sample` chooses, in exact numbers: splitmix64 (Steele, Lea, Flood 2014) and a flow's key. */
const MASK = (1n << 64n) - 1n;
const STEP = 0x9e3779b97f4a7c15n;

export function mix(x: bigint): bigint {
  let y = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  y = ((y ^ (y >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return y ^ (y >> 31n);
}

/** Is it below the n-th part, by its upper 32 bits? */
const isFirstPart = (x: bigint, n: number) => (x >> 32n) * BigInt(n) < 1n << 32n;

/** Addresses as 4 or 16 bytes; bytes of words as they lie in a packet, which a little-endian machine reads. */
export interface Flow {
  from: number[];
  to: number[];
  fromPort: number;
  toPort: number;
  protocol: number;
}
const word = (bytes: number[]) => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
const swapped = (port: number) => BigInt(((port & 255) << 8) | (port >> 8));

function endpoint(address: number[], port: number, seed: bigint): bigint {
  if (address.length === 4) return mix(((word(address) << 16n) | swapped(port)) ^ seed);
  const high = mix(word(address.slice(0, 8)) ^ seed);
  return mix(high ^ word(address.slice(8))) ^ mix((swapped(port) + seed) & MASK);
}

export function isFlowChosen(
  { from, to, fromPort, toPort, protocol }: Flow,
  n: number,
  seed: bigint,
): boolean {
  const ends = endpoint(from, fromPort, seed) + endpoint(to, toPort, seed);
  return isFirstPart(mix((ends + BigInt(protocol) * STEP) & MASK), n);
}

/** The choice of each packet of a worker in turn. */
export function* randomChoices(n: number, seed: bigint, worker: number): Generator<boolean> {
  let state = mix((seed + BigInt(worker) * STEP) & MASK);
  for (;;) {
    state = (state + STEP) & MASK;
    yield isFirstPart(mix(state), n);
  }
}
