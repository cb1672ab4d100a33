// Our segments byte for byte against the kernel's: the same super-packet goes into a tun device with offloads, is routed,
// and leaves by one without, so that the kernel has to cut it; and what we put together, the kernel takes apart again.
//
//   we write ---- x [ kernel, forwards ] y ---- we read, finished packets
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ALL_OFFLOADS, VNET_HEADER } from "../../src/batches/layout.ts";
import { type OpenDevice, openTun } from "../../src/devices/tun/open.ts";
import { POLLIN, ppoll, read, write } from "../../src/sys/calls.ts";
import { addressOf } from "../../src/sys/memory.ts";
import { Finisher, type Given, NO_VNET, writeVnet } from "../assembly/finisher.ts";
import { build, given, type Shape, shapes } from "../assembly/super-packets.ts";
import { finished, type SuperPacket, segmentsOf } from "../reference/segment.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";

const TCP: Shape = {
  family: 4,
  protocol: 6,
  ipOptions: 0,
  tcpOptions: 0,
  tcpFlags: 0x10,
  id: 7,
  seq: 1000,
  tags: -1,
  size: 1000,
  bytes: 10_000,
  seed: 1,
};
const UDP: Shape = { ...TCP, protocol: 17 };

/** Fields that differ from a plain one, for each protocol and family. */
const VARIANTS: [string, Partial<Shape>][] = [
  ["plain", {}],
  ["an odd size, a shorter last segment", { size: 777, bytes: 5001 }],
  ["a last segment of one byte", { size: 1234, bytes: 1234 * 3 + 1 }],
  ["two segments", { size: 1400, bytes: 1401 }],
  ["small segments", { size: 8, bytes: 400 }],
  ["as long as it gets", { size: 1300, bytes: 65_000 }],
  ["ids and sequence numbers that wrap", { id: 0xfffe, seq: 0xffffff00 }],
  ["id 0", { id: 0 }],
  ["TCP options", { tcpOptions: 12 }],
  ["as many TCP options as there can be", { tcpOptions: 40, size: 601 }],
  ["FIN and PSH", { tcpFlags: 0x19 }],
];

describeKernel("segments", () => {
  const buffer = new Uint8Array(new SharedArrayBuffer(131072));
  const address = addressOf(buffer);
  let ns: TestNamespace;
  let x: OpenDevice;
  let y: OpenDevice;
  let ours: Finisher;

  beforeAll(async () => {
    ns = new TestNamespace();
    const device = (name: string, offload: "on" | "off", net: number) =>
      openTun({
        mode: "tun",
        name,
        queues: 1,
        addresses: [`10.${net}.0.1/24`, `fd0${net}::1/64`],
        routes: [],
        mtu: 1500,
        netns: ns.name,
        offload,
        persist: false,
        owner: undefined,
        group: undefined,
        txqueuelen: 5000,
        mac: undefined,
        bridge: undefined,
      });
    ns.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
    ns.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0");
    [x, y] = [device("x", "on", 1), device("y", "off", 2)];
    ours = await Finisher.make();
  });
  afterAll(() => {
    x?.close();
    y?.close();
    ns?.remove();
  });

  /** What the kernel makes of a packet that is written into x: all packets to fdnn/10.2 that come out of y. */
  function throughKernel({ bytes, vnet }: Given, count: number): Uint8Array[] {
    writeVnet(buffer, 0, { ...NO_VNET, ...vnet });
    buffer.set(bytes, VNET_HEADER);
    expect(write(x.fds[0], address, VNET_HEADER + bytes.length)).toBe(VNET_HEADER + bytes.length);
    const packets: Uint8Array[] = [];
    const pollfd = new Int32Array(new SharedArrayBuffer(8));
    pollfd[0] = y.fds[0];
    pollfd[1] = POLLIN;
    while (packets.length < count && ppoll(addressOf(pollfd), 1, 1e9) > 0) {
      const length = read(y.fds[0], address, buffer.length);
      const packet = buffer.slice(0, length);
      // Not the kernel's own, to its neighbours: TCP, UDP, destination options.
      const protocol = packet[0] >> 4 === 4 ? packet[9] : packet[6];
      if (protocol === 6 || protocol === 17 || protocol === 60) packets.push(packet);
    }
    return packets;
  }

  /** As it is behind a router. */
  function routed(p: SuperPacket): SuperPacket {
    const bytes = Uint8Array.from(p.bytes);
    const at = bytes[0] >> 4 === 4 ? 8 : 7;
    bytes[at]--;
    if (at === 8) bytes.set(finished({ ...p, bytes }).subarray(10, 12), 10);
    return { ...p, bytes };
  }
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

  /** Every other super-packet with CWR says so in its header too (VIRTIO_NET_HDR_GSO_ECN), as the kernel does. */
  function withEcn({ bytes, vnet }: Given, { protocol, tcpFlags, seed }: Shape): Given {
    if (protocol !== 6 || (tcpFlags & 0x80) === 0 || seed % 2 === 0 || !vnet?.gsoType)
      return { bytes, vnet: vnet! };
    return { bytes, vnet: { ...vnet, gsoType: vnet.gsoType | 0x80 } };
  }

  /** What we make of a super-packet is what the kernel makes of it, byte for byte, and what the reference makes. */
  function expectAsKernel(shape: Shape): void {
    const p = build(shape);
    const wanted = segmentsOf(routed(p)).map(hex);
    const kernel = throughKernel(withEcn(given(p), shape), wanted.length).map(hex);
    ours.receive([withEcn(given(routed(p)), shape)], 3);
    const out = ours.finish(0).map(({ bytes }) => hex(bytes));
    expect(out, JSON.stringify(shape)).toEqual(kernel);
    // So is the reference that assembly/segment.test.ts holds everything against.
    expect(wanted, JSON.stringify(shape)).toEqual(kernel);
  }

  for (const family of [4, 6] as const) {
    for (const [name, plain] of [
      ["TCP", TCP],
      ["UDP", UDP],
    ] as const) {
      const variants = VARIANTS.filter(
        ([, change]) => name === "TCP" || !/tcp/.test(Object.keys(change).join()),
      );
      test.each(variants)(`${name} over IPv${family}: %s`, (_, change) => {
        expectAsKernel({ ...plain, family, ...change });
      });

      test(`${name} over IPv${family}: every combination of options, extension headers and flags`, () => {
        const flags = name === "TCP" ? Array.from({ length: 256 }, (_, i) => i) : [0];
        for (const ipOptions of [0, 1, 4]) {
          for (const tcpOptions of name === "TCP" ? [0, 4, 12, 40] : [0]) {
            for (const tcpFlags of flags) {
              // Three segments of odd lengths, the last one shorter.
              const size = 601 + (tcpFlags % 7);
              const shape = {
                family,
                ipOptions,
                tcpOptions,
                tcpFlags,
                size,
                bytes: 2 * size + 1 + (tcpFlags % 64),
              };
              expectAsKernel({ ...plain, ...shape, seed: tcpFlags });
            }
          }
        }
      });

      test(`${name} over IPv${family}: segments of every length up to 80, of every number of bytes`, () => {
        for (let size = 1; size <= 80; size++)
          for (const bytes of [size + 1, 2 * size - 1, 2 * size, 2 * size + 1, 3 * size - 1])
            expectAsKernel({ ...plain, family, size, bytes, seed: bytes });
      });

      test(`${name} over IPv${family}: any of them`, () => {
        const routable = shapes.filter(
          ({ size, bytes }) => size <= 1300 && bytes > size && bytes < 120 * size,
        );
        fc.assert(
          fc.property(routable, (shape) => {
            expectAsKernel({ ...shape, family, protocol: plain.protocol, tags: -1 });
          }),
          { numRuns: 200 },
        );
      });

      test(`${name} over IPv${family}: the kernel takes apart what was put together`, () => {
        const p = build({ ...plain, family, size: 1201, bytes: 30_001 });
        ours.receive(
          segmentsOf(p).map((bytes) => ({ bytes })),
          3,
        );
        const [whole, ...others] = ours.finish(ALL_OFFLOADS);
        expect(others).toEqual([]);
        const kernel = throughKernel(whole, 25).map(hex);
        expect(kernel).toEqual(segmentsOf(routed(p)).map(hex));
      });

      test(`${name} over IPv${family}: the kernel completes a partial checksum as we do`, () => {
        for (let bytes = 1; bytes < 40; bytes++) {
          const p = build({ ...plain, family, bytes, seed: bytes });
          const kernel = throughKernel(given(p), 1).map(hex);
          ours.receive([given(routed(p))], 3);
          expect(ours.finish(0).map((one) => hex(one.bytes))).toEqual(kernel);
        }
      });
    }
  }
});
