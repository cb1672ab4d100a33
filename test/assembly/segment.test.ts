// core's segmentation, completion of checksums and coalescing against a slow reference that makes every packet from its
// parts. test/netns/segment.test.ts holds both against the kernel's.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ALL_OFFLOADS, OFFLOAD } from "../../src/batches/layout.ts";
import { finished, segmentsOf } from "../reference/segment.ts";
import { Finisher, type Given, NO_VNET } from "./finisher.ts";
import { build, given, type Shape, shapes } from "./super-packets.ts";

const layerOf = ({ tags }: Shape) => (tags < 0 ? 3 : 2);
const plain: Shape = {
  family: 4,
  protocol: 6,
  ipOptions: 0,
  tcpOptions: 12,
  tcpFlags: 0x18,
  id: 7,
  seq: 1000,
  tags: -1,
  size: 1448,
  bytes: 40000,
  seed: 1,
};

describe("a device without offloads", () => {
  test("gets the segments that the reference makes, each with right checksums", async () => {
    const finisher = await Finisher.make();
    fc.assert(
      fc.property(shapes, (shape) => {
        const p = build(shape);
        fc.pre(p.bytes.length - p.l3 <= 65535);
        finisher.receive([given(p)], layerOf(shape));
        const out = finisher.finish(0);
        const wanted = segmentsOf(p);
        expect(out.length).toBe(wanted.length);
        out.forEach(({ bytes, vnet, datagrams }, i) => {
          expect(Buffer.compare(bytes, wanted[i]), `segment ${i}`).toBe(0);
          expect(vnet).toEqual(NO_VNET);
          expect(datagrams).toBe(1);
        });
      }),
      { numRuns: 150 },
    );
    expect(finisher.memory.freeCount).toBe(finisher.memory.slots);
  });

  test("gets them in several turns where slots are few, and the same", async () => {
    const finisher = await Finisher.make(3);
    const p = build({ ...plain, size: 500, bytes: 60_000, tcpFlags: 0xd9 });
    finisher.receive([given(p), given(p)], 3);
    expect(finisher.finish(0).map(({ bytes }) => Buffer.from(bytes))).toEqual(
      [...segmentsOf(p), ...segmentsOf(p)].map((bytes) => Buffer.from(bytes)),
    );
    expect(finisher.count("segmented")).toBe(2 * 119);
    expect(finisher.count("checksummed")).toBe(2 * 120);
  });
});

test("a device that completes checksums only gets segments that it has to complete", async () => {
  const finisher = await Finisher.make();
  fc.assert(
    fc.property(shapes, (shape) => {
      const p = build(shape);
      fc.pre(p.bytes.length - p.l3 <= 65535);
      finisher.receive([given(p)], layerOf(shape));
      const wanted = segmentsOf(p);
      finisher.finish(OFFLOAD.CSUM).forEach(({ bytes, vnet }, i) => {
        expect(vnet).toMatchObject({ flags: 1, gsoType: 0, gsoSize: 0, csumStart: p.l4 });
        // As skb_checksum_help completes it.
        expect(Buffer.compare(finished({ ...p, bytes }), wanted[i])).toBe(0);
      });
    }),
    { numRuns: 60 },
  );
});

test("a device with all offloads gets the super-packet as it came, with a header made anew", async () => {
  const finisher = await Finisher.make();
  const p = build(plain);
  finisher.receive([given(p)], 3);
  const [out] = finisher.finish(ALL_OFFLOADS);
  expect(Buffer.compare(out.bytes, p.bytes)).toBe(0);
  expect(out.vnet).toEqual({
    flags: 1,
    gsoType: 1,
    hdrLen: p.data,
    gsoSize: 1448,
    csumStart: 20,
    csumOffset: 16,
  });
  expect(out.datagrams).toBe(28);
  expect(finisher.count("segmented") + finisher.count("checksummed")).toBe(0);
});

describe("a header that does not fit its packet", () => {
  test.each([
    ["no size", { gsoType: 1, gsoSize: 0 }],
    ["of another IP version", { gsoType: 4, gsoSize: 100 }],
    ["of another protocol", { gsoType: 5, gsoSize: 100 }],
    ["of UFO, which nobody asked for", { gsoType: 3, gsoSize: 100 }],
    ["of a type that there is not", { gsoType: 0x7f, gsoSize: 100 }],
    ["longer segments than there is data", { gsoType: 1, gsoSize: 50_000 }],
  ])("%s: the packet is a plain one", async (_, vnet) => {
    const finisher = await Finisher.make(8);
    const p = build(plain);
    finisher.receive([{ bytes: p.bytes, vnet: { ...given(p).vnet, ...vnet } }], 3);
    const out = finisher.finish(0);
    expect(out).toHaveLength(1);
    expect(Buffer.compare(out[0].bytes, finished(p))).toBe(0);
  });

  test("any header before any bytes: nothing traps, nothing leaves its slot, every slot comes back", async () => {
    const finisher = await Finisher.make(64);
    const u16 = fc.integer({ min: 0, max: 65535 });
    const vnet = fc.record({
      flags: fc.constantFrom(0, 1, 2, 3, 255),
      gsoType: fc.constantFrom(0, 1, 3, 4, 5, 0x81, 0x84, 255),
      hdrLen: u16,
      gsoSize: fc.oneof(u16, fc.integer({ min: 0, max: 30 })),
      csumStart: fc.oneof(u16, fc.constantFrom(0, 20, 40)),
      csumOffset: fc.oneof(u16, fc.constantFrom(6, 16)),
    });
    const damage = fc.array(fc.tuple(fc.nat({ max: 70 }), fc.integer({ min: 0, max: 255 })), {
      maxLength: 4,
    });
    fc.assert(
      fc.property(
        shapes,
        vnet,
        damage,
        fc.constantFrom(0, 1, ALL_OFFLOADS),
        (shape, header, bytes, offloads) => {
          const p = build({ ...shape, bytes: Math.min(shape.bytes, 2000) });
          for (const [at, value] of bytes) if (at < p.bytes.length) p.bytes[at] = value;
          finisher.receive([{ bytes: p.bytes, vnet: header }], layerOf(shape));
          const out = finisher.finish(offloads);
          expect(out.length).toBeGreaterThanOrEqual(1);
          for (const one of out) expect(one.bytes.length).toBeLessThanOrEqual(p.bytes.length);
          expect(finisher.memory.freeCount).toBe(64);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe("coalescing", () => {
  const whole = (p: ReturnType<typeof build>): Given[] => segmentsOf(p).map((bytes) => ({ bytes }));

  test.each([
    ["TCP over IPv4", plain, 1],
    ["TCP over IPv6", { ...plain, family: 6 } as Shape, 4],
    ["UDP over IPv4", { ...plain, protocol: 17, bytes: 40001 } as Shape, 5],
    ["UDP over IPv6 on Ethernet", { ...plain, family: 6, protocol: 17, tags: 0 } as Shape, 5],
  ])("%s: the segments of a super-packet become that super-packet", async (_, shape, gsoType) => {
    const finisher = await Finisher.make();
    const p = build(shape);
    finisher.receive(whole(p), layerOf(shape));
    const out = finisher.finish(ALL_OFFLOADS);
    expect(out).toHaveLength(1);
    expect(Buffer.compare(out[0].bytes, p.bytes)).toBe(0);
    expect(out[0].vnet).toMatchObject({ gsoType, gsoSize: 1448, hdrLen: p.data, flags: 1, csumStart: p.l4 });
    expect(out[0].datagrams).toBe(28);
    expect(finisher.count("coalesced")).toBe(27);
    expect(finisher.memory.freeCount).toBe(finisher.memory.slots);
  });

  test("whatever is put together comes apart as it was, each flow in its order", async () => {
    const finisher = await Finisher.make();
    const flow = shapes.map((shape) => ({
      ...shape,
      tags: -1,
      bytes: 1 + (shape.bytes % 9000),
      size: 100 + shape.size,
    }));
    fc.assert(
      fc.property(
        fc.array(flow, { maxLength: 5, minLength: 1 }),
        fc.infiniteStream(fc.nat()),
        (flows, order) => {
          const queues = flows.map((shape, port) => {
            const p = build(shape);
            p.bytes[p.l4 + 3] = port;
            return segmentsOf({ ...p, bytes: finished(p) }).slice(0, 30);
          });
          const packets: Uint8Array[] = [];
          for (
            let left = queues.filter((q) => q.length > 0);
            left.length > 0;
            left = left.filter((q) => q.length > 0)
          ) {
            packets.push(left[(order.next().value as number) % left.length].shift()!);
          }
          finisher.receive(
            packets.slice(0, 128).map((bytes) => ({ bytes })),
            3,
          );
          finisher.handOn(ALL_OFFLOADS);
          const out = finisher.finish(0);
          const byFlow = (all: Uint8Array[]) => {
            const flows = new Map<string, string[]>();
            for (const bytes of all) {
              const key = flowKey(bytes).join();
              flows.set(key, [...(flows.get(key) ?? []), hex(bytes)]);
            }
            return flows;
          };
          const got = byFlow(out.map(({ bytes }) => bytes));
          for (const [key, wanted] of byFlow(packets.slice(0, 128))) {
            expect(got.get(key)).toEqual(wanted);
          }
          expect(finisher.memory.freeCount).toBe(finisher.memory.slots);
        },
      ),
      { numRuns: 80 },
    );
  });

  test("IPv4 ids may all be the same where DF is set, and are not mixed with such that count", async () => {
    const finisher = await Finisher.make();
    const ids = [5, 5, 5, 6, 7, 8, 8];
    const packets = whole(build({ ...plain, bytes: 1448 * 7, tcpFlags: 0x10 })).map(({ bytes }) => bytes);
    const withIds = (flags: number) =>
      packets.map((bytes, i) => {
        const copy = Uint8Array.from(bytes);
        copy.set([0, ids[i], flags], 4);
        return { bytes: finished({ bytes: copy, l3: 0, l4: 20, data: 52, protocol: 6, size: 0 }) };
      });
    finisher.receive(withIds(0x40), 3);
    expect(finisher.finish(ALL_OFFLOADS).map(({ datagrams }) => datagrams)).toEqual([3, 3, 1]);
    finisher.receive(withIds(0), 3);
    expect(finisher.finish(ALL_OFFLOADS).map(({ datagrams }) => datagrams)).toEqual([1, 1, 4, 1]);
  });

  test.each([
    ["a wrong checksum", (b: Uint8Array) => flip(b, b.length - 1)],
    ["a wrong IPv4 checksum", (b: Uint8Array) => flip(b, 10)],
    ["another TTL", (b: Uint8Array) => refinish(b, 8)],
    ["another TOS", (b: Uint8Array) => refinish(b, 1)],
    ["another acknowledgement", (b: Uint8Array) => refinish(b, 20 + 11)],
    ["another window", (b: Uint8Array) => refinish(b, 20 + 15)],
    ["another option", (b: Uint8Array) => refinish(b, 20 + 21)],
    ["a gap in the sequence", (b: Uint8Array) => refinish(b, 20 + 7)],
    ["SYN", (b: Uint8Array) => refinish(b, 20 + 13, 2)],
    ["URG", (b: Uint8Array) => refinish(b, 20 + 13, 32)],
    ["CWR", (b: Uint8Array) => refinish(b, 20 + 13, 128)],
  ])("%s ends a super-packet, and what differs stays as it came", async (_, change) => {
    const finisher = await Finisher.make();
    const packets = whole(build({ ...plain, bytes: 1448 * 4, tcpFlags: 0x10 })).map(({ bytes }) => bytes);
    packets[2] = change(packets[2]);
    finisher.receive(
      packets.map((bytes) => ({ bytes })),
      3,
    );
    const out = finisher.finish(ALL_OFFLOADS);
    expect(out.map(({ datagrams }) => datagrams)).toEqual([2, 1, 1]);
    expect(hex(out[1].bytes)).toBe(hex(packets[2]));
  });

  test("PSH and FIN end a super-packet", async () => {
    const finisher = await Finisher.make();
    const packets = whole(build({ ...plain, bytes: 1448 * 4, tcpFlags: 0x10 })).map(({ bytes }) => bytes);
    packets[1] = refinish(packets[1], 20 + 13, 8);
    finisher.receive(
      packets.map((bytes) => ({ bytes })),
      3,
    );
    expect(finisher.finish(ALL_OFFLOADS).map(({ datagrams }) => datagrams)).toEqual([2, 2]);
  });

  test("UDP without a checksum, fragments and packets without data stay as they are", async () => {
    const finisher = await Finisher.make();
    const udp = whole(build({ ...plain, protocol: 17, bytes: 3 * 1448 })).map(({ bytes }) => bytes);
    for (const bytes of udp) bytes.fill(0, 26, 28);
    const acks = whole(build({ ...plain, bytes: 0, tcpFlags: 0x10 }));
    finisher.receive([...udp.map((bytes) => ({ bytes })), ...acks, ...acks], 3);
    expect(finisher.finish(ALL_OFFLOADS).every(({ datagrams }) => datagrams === 1)).toBe(true);
    expect(finisher.count("coalesced")).toBe(0);
  });

  test("a device gets only what it cuts itself: without USO, UDP is left alone", async () => {
    const finisher = await Finisher.make();
    finisher.receive(whole(build({ ...plain, protocol: 17 })), 3);
    expect(finisher.finish(OFFLOAD.CSUM | OFFLOAD.TSO4 | OFFLOAD.TSO6)).toHaveLength(28);
  });
});

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** Addresses, protocol, ports: what puts a packet in a flow. */
function flowKey(bytes: Uint8Array): number[] {
  const v4 = bytes[0] >> 4 === 4;
  let l4 = v4 ? (bytes[0] & 15) * 4 : 40;
  if (!v4 && bytes[6] === 60) l4 += (bytes[41] + 1) * 8;
  return [bytes[0], v4 ? bytes[9] : bytes[6], ...bytes.subarray(l4, l4 + 4)];
}

function flip(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at] ^= 0x10;
  return copy;
}

/** Flips bits of a byte of an IPv4 TCP packet and makes its checksums right again. */
function refinish(bytes: Uint8Array, at: number, bits = 0x10): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at] ^= bits;
  return finished({ bytes: copy, l3: 0, l4: 20, data: 52, protocol: 6, size: 0 });
}
