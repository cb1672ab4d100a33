// assembly/lib/checksum.ts against slow references: every length, every alignment, and zero in both its forms.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { compile } from "../../src/filters/build.ts";
import { checksum, onesComplementSum } from "../reference/checksum.ts";

/** The library's functions as they are, for a host to call. 64-bit words come as halves: no BigInt needed. */
const PROBE = `
import * as lib from "pktflow/assembly";
export function sum(at: usize, bytes: u32, initial: u32): u32 { return lib.sum(at, bytes, initial); }
export function complement(sum: u32): u16 { return lib.complement(sum); }
export function sumIpv4Header(ip: usize): u32 { return lib.sumIpv4Header(ip); }
export function sumPseudoIpv4(ip: usize, protocol: u8, length: u32): u32 { return lib.sumPseudoIpv4(ip, protocol, length); }
export function sumPseudoIpv6(ip: usize, protocol: u8, length: u32): u32 { return lib.sumPseudoIpv6(ip, protocol, length); }
export function change16(from: u16, to: u16): u32 { return lib.change16(from, to); }
export function change32(from: u32, to: u32): u32 { return lib.change32(from, to); }
export function change128(from: usize, to: usize): u32 {
  return lib.change128(lib.be64(from), lib.be64(from + 8), lib.be64(to), lib.be64(to + 8));
}
export function applyChange(field: usize, change: u32): void { lib.applyChange(field, change); }
export function applyChangeUdp(field: usize, change: u32): void { lib.applyChangeUdp(field, change); }
export function applyChangePartial(field: usize, change: u32): void { lib.applyChangePartial(field, change); }
`;

type Lib = Record<
  | "sum"
  | "complement"
  | "sumIpv4Header"
  | "sumPseudoIpv4"
  | "sumPseudoIpv6"
  | "change16"
  | "change32"
  | "change128"
  | "applyChange"
  | "applyChangeUdp"
  | "applyChangePartial",
  (...args: number[]) => number
>;

const END = 65536;
let lib: Lib;
let u8: Uint8Array;
beforeAll(async () => {
  const bytes = await compile("/probe", "probe.ts", new Map([["/probe/probe.ts", PROBE]]));
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  lib = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Lib;
  u8 = new Uint8Array(memory.buffer);
});

/** The library's sums are in memory order. */
const swap = (word: number) => ((word & 0xff) << 8) | (word >>> 8);
const be16At = (at: number) => u8[at] * 256 + u8[at + 1];

describe("sum (RFC 1071)", () => {
  test("every length up to 2048 at every alignment to 16, and nothing read beyond", () => {
    for (let length = 0; length <= 2048; length++) {
      const bytes = Uint8Array.from({ length }, (_, i) => (i * 151 + length * 31 + (i >> 3)) & 255);
      const expected = onesComplementSum(bytes);
      for (let alignment = 0; alignment < 16; alignment++) {
        // The last one ends where memory ends: a byte read beyond traps.
        const at = alignment === 0 ? END - length : 4096 + alignment;
        u8.fill(0xff, 4096, 4096 + length + 64);
        u8.set(bytes, at);
        if (swap(lib.sum(at, length, 0)) !== expected) {
          expect.fail(`length ${length}, alignment ${alignment}: not ${expected}`);
        }
      }
    }
  });
  test.each([0, 1, 2, 3, 63, 64, 65, 127, 128, 1480, 60_000])(
    "%i bytes of ones, the most there can be",
    (length) => {
      u8.fill(0xff, 0, length);
      expect(swap(lib.sum(0, length, 0))).toBe(onesComplementSum(u8.subarray(0, length)));
    },
  );
  test("of zeros is zero, of anything else it is not", () => {
    u8.fill(0, 0, 2048);
    expect(lib.sum(0, 2048, 0)).toBe(0);
    for (const at of [0, 63, 64, 2047]) {
      u8[at] = 1;
      expect(lib.sum(0, 2048, 0)).not.toBe(0);
      u8[at] = 0;
    }
  });
  test("goes on from an initial sum, and complement makes the whole come out as all ones", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 300 }), fc.nat(0xffff), (bytes, initial) => {
        bytes[0] = bytes[1] = 0;
        u8.set(bytes, 1000);
        const field = lib.complement(lib.sum(1000, bytes.length, initial));
        u8[1000] = field & 255;
        u8[1001] = field >> 8;
        // Zero comes out only when there is nothing but zeros and no carry ever came.
        expect([0xffff, 0]).toContain(lib.sum(1000, bytes.length, initial));
        if (initial > 0 || bytes.some((byte) => byte > 0)) {
          expect(lib.sum(1000, bytes.length, initial)).toBe(0xffff);
        }
      }),
    );
  });
  test("the example of RFC 1071, 3", () => {
    u8.set([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 64);
    expect(swap(lib.sum(64, 8, 0))).toBe(0xddf2);
  });
});

describe("pseudo-headers", () => {
  test("IPv4: source, destination, zero, protocol, length (RFC 9293, 3.1)", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 20, maxLength: 20 }),
        fc.nat(255),
        fc.nat(65535),
        (ip, protocol, length) => {
          u8.set(ip, 512);
          const pseudo = [...ip.slice(12, 20), 0, protocol, length >> 8, length & 255];
          expect(swap(lib.sumPseudoIpv4(512, protocol, length))).toBe(onesComplementSum(pseudo));
        },
      ),
    );
  });
  test("IPv6: source, destination, length in 32 bits, zeros, next header (RFC 8200, 8.1)", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 40, maxLength: 40 }),
        fc.nat(255),
        fc.nat(65535),
        (ip, next, length) => {
          u8.set(ip, 512);
          const pseudo = [...ip.slice(8, 40), 0, 0, length >> 8, length & 255, 0, 0, 0, next];
          expect(swap(lib.sumPseudoIpv6(512, next, length))).toBe(onesComplementSum(pseudo));
        },
      ),
    );
  });
  test("the IPv4 header's sum covers its options and no more", () => {
    for (let words = 5; words <= 15; words++) {
      u8.fill(0x11, 512, 600);
      u8[512] = 0x40 | words;
      expect(swap(lib.sumIpv4Header(512))).toBe(onesComplementSum(u8.subarray(512, 512 + words * 4)));
    }
  });
});

/** Words at the edges come often. */
const word = fc.oneof(fc.constantFrom(0, 1, 0xff, 0x100, 0x7fff, 0x8000, 0xfffe, 0xffff), fc.nat(0xffff));
const AT = 2048;
const put = (at: number, value: number) => {
  u8[at] = value >> 8;
  u8[at + 1] = value & 255;
};
const putAll = (at: number, values: number[]) => {
  for (const [i, value] of values.entries()) put(at + i * 2, value);
};

describe("changes (RFC 1624, equation 3)", () => {
  /** A header of words, its checksum in the first; the changed words start at `from`. */
  function expectAsWhole(
    words: number[],
    from: number,
    to: number[],
    change: () => number,
    apply: keyof Lib,
  ) {
    putAll(AT, words);
    put(AT, 0);
    const bytes = u8.subarray(AT, AT + words.length * 2);
    put(AT, checksum(bytes));
    const applied = change();
    putAll(AT + from * 2, to);
    lib[apply](AT, applied);
    const incremental = be16At(AT);
    put(AT, 0);
    const whole = checksum(bytes);
    // Of data that is nothing but zeros the whole sum says 0xffff, and no update can know that.
    if (bytes.some((byte) => byte !== 0)) expect(incremental).toBe(whole);
    else expect([0, 0xffff]).toContain(incremental);
  }

  test("of 16 bits gives what the whole sum gives", () => {
    fc.assert(
      fc.property(fc.array(word, { minLength: 3, maxLength: 10 }), word, (words, to) => {
        expectAsWhole(words, 2, [to], () => lib.change16(words[2], to), "applyChange");
      }),
      { numRuns: 5000 },
    );
  });
  test("of 32 bits gives what the whole sum gives", () => {
    fc.assert(
      fc.property(fc.array(word, { minLength: 4, maxLength: 10 }), word, word, (words, a, b) => {
        const from = words[2] * 65536 + words[3];
        expectAsWhole(words, 2, [a, b], () => lib.change32(from, a * 65536 + b), "applyChange");
      }),
      { numRuns: 5000 },
    );
  });
  test("of 128 bits gives what the whole sum gives", () => {
    const address = fc.array(word, { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(fc.array(word, { minLength: 2, maxLength: 4 }), address, address, (words, from, to) => {
        putAll(128, from);
        putAll(160, to);
        expectAsWhole([...words, ...from], words.length, to, () => lib.change128(128, 160), "applyChange");
      }),
      { numRuns: 5000 },
    );
  });
  test("of several words may be added up and applied once", () => {
    fc.assert(
      fc.property(fc.array(word, { minLength: 6, maxLength: 6 }), word, word, word, (words, a, b, c) => {
        const change = () =>
          lib.change32(words[2] * 65536 + words[3], a * 65536 + b) + lib.change16(words[4], c);
        expectAsWhole(words, 2, [a, b, c], change, "applyChange");
      }),
      { numRuns: 5000 },
    );
  });
  test("RFC 1624, 4: the example where equation 4 went wrong", () => {
    put(AT, 0xdd2f);
    lib.applyChange(AT, lib.change16(0x5555, 0x3285));
    expect(be16At(AT)).toBe(0x0000);
  });
  test("every old checksum with every edge: the update is undone by the opposite change", () => {
    for (const [from, to] of [
      [0, 0xffff],
      [0xffff, 0],
      [1, 0xfffe],
      [0x1234, 0x1234],
    ]) {
      for (let old = 0; old < 0xffff; old++) {
        put(AT, old);
        lib.applyChange(AT, lib.change16(from, to));
        lib.applyChange(AT, lib.change16(to, from));
        // 0xffff and 0 are one number; a checksum of 0xffff says that the data is all zeros.
        if (be16At(AT) % 0xffff !== old % 0xffff) expect.fail(`${old}: ${from} -> ${to} -> ${be16At(AT)}`);
      }
    }
  });
});

describe("UDP and partial checksums", () => {
  test("none stays none, and what comes out as zero is sent as all ones (RFC 768)", () => {
    fc.assert(
      fc.property(word, word, word, (old, from, to) => {
        put(AT, old);
        lib.applyChangeUdp(AT, lib.change16(from, to));
        const udp = be16At(AT);
        put(AT, old);
        lib.applyChange(AT, lib.change16(from, to));
        const plain = be16At(AT);
        expect(udp).toBe(old === 0 ? 0 : plain === 0 ? 0xffff : plain);
      }),
      { numRuns: 5000 },
    );
  });
  test("a partial checksum is the pseudo-header's sum itself, and is changed as one", () => {
    const words = fc
      .array(word, { minLength: 6, maxLength: 6 })
      .filter((all) => all.slice(2).some((w) => w > 0));
    fc.assert(
      fc.property(words, word, word, (pseudo, a, b) => {
        const bytes = (all: number[]) => all.flatMap((w) => [w >> 8, w & 255]);
        put(AT, onesComplementSum(bytes(pseudo)));
        lib.applyChangePartial(AT, lib.change32(pseudo[0] * 65536 + pseudo[1], a * 65536 + b));
        expect(be16At(AT)).toBe(onesComplementSum(bytes([a, b, ...pseudo.slice(2)])));
      }),
      { numRuns: 5000 },
    );
  });
});
