/** Maglev hashing as its paper has it (NSDI 2016, 3.4, "Pseudocode 1"), with turns by weight; slow and obvious. */

const MASK = (1n << 64n) - 1n;

function mix(x: bigint): bigint {
  let z = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return z ^ (z >> 31n);
}

function nameHash(name: string, which: bigint): bigint {
  let hash = 0xcbf29ce484222325n ^ which;
  for (const byte of new TextEncoder().encode(name)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & MASK;
  return mix(hash);
}

/** @returns the index of the backend at each of `size` entries */
export function maglevTable(backends: { name: string; weight: number }[], size: number): number[] {
  const m = BigInt(size);
  const permutations = backends.map(({ name }) => {
    const offset = nameHash(name, 0n) % m;
    const skip = (nameHash(name, 1n) % (m - 1n)) + 1n;
    return (j: number) => Number((offset + BigInt(j) * skip) % m);
  });
  const next = backends.map(() => 0);
  const turns = backends.map(() => 0);
  const largest = Math.max(...backends.map(({ weight }) => weight));
  const entry: number[] = new Array(size).fill(-1);
  for (let n = 0; ; ) {
    for (let i = 0; i < backends.length; i++) {
      turns[i] += backends[i].weight;
      if (turns[i] < largest) continue;
      turns[i] -= largest;
      let c = permutations[i](next[i]);
      while (entry[c] >= 0) c = permutations[i](++next[i]);
      entry[c] = i;
      next[i]++;
      if (++n === size) return entry;
    }
  }
}
