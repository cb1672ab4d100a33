// What we put together against the kernel's own GRO: the same packets go into a tun device that has it (IFF_NAPI), are
// routed, and leave by one that takes super-packets.
//
//   we write ---- x [ GRO, kernel, forwards ] y ---- we read, super-packets
import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ALL_OFFLOADS, VNET_HEADER } from "../../src/batches/layout.ts";
import { type OpenDevice, openTun } from "../../src/devices/tun/open.ts";
import { close, O_RDWR, open, POLLIN, ppoll, read, write } from "../../src/sys/calls.ts";
import { IFF_NAPI, IFF_NO_PI, IFF_TUN, TUN_DEVICE, tunSetIff } from "../../src/sys/if_tun.ts";
import { addressOf } from "../../src/sys/memory.ts";
import { Finisher, readVnet } from "../assembly/finisher.ts";
import { build, type Shape } from "../assembly/super-packets.ts";
import { finished, type SuperPacket, segmentsOf } from "../reference/segment.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";

const TCP: Shape = {
  family: 4,
  protocol: 6,
  ipOptions: 0,
  tcpOptions: 12,
  tcpFlags: 0x10,
  id: 7,
  seq: 1000,
  tags: -1,
  size: 1000,
  bytes: 6000,
  seed: 1,
};
/** How long the kernel waits for more of a flow. ns */
const FLUSH = 10e6;
/** It lets go of what it holds when its clock ticks between two packets: the try with the fewest packets had no tick. */
const TRIES = 8;

/** Such a packet overtakes what the kernel holds of its flow, and with us it does not. */
const OVERTAKES = /^(a wrong checksum|one without a checksum)$/;

type Change = (packets: SuperPacket[]) => SuperPacket[];

/** A change of one packet's bytes, with its checksums made right. */
function edit(i: number, change: (bytes: Uint8Array, p: SuperPacket) => void): Change {
  return (packets) => {
    const bytes = Uint8Array.from(packets[i].bytes);
    change(bytes, packets[i]);
    return packets.with(i, { ...packets[i], bytes: finished({ ...packets[i], bytes }) });
  };
}
const flags = (i: number, value: number) =>
  edit(i, (bytes, { l4 }) => {
    bytes[l4 + 13] = value;
  });
/** The data of one packet, so many bytes shorter. */
const shorter = (i: number, by: number): Change => {
  return (packets) => {
    const p = packets[i];
    return packets.with(i, { ...p, bytes: finished({ ...p, bytes: p.bytes.slice(0, -by) }) });
  };
};
const both =
  (a: Change, b: Change): Change =>
  (packets) =>
    b(a(packets));

/** For each protocol: what is done to six packets in a row. */
const ANY: [string, Change][] = [
  ["in a row", (p) => p],
  ["one alone", (p) => p.slice(0, 1)],
  ["a shorter last one", shorter(5, 300)],
  ["a shorter one among them", shorter(2, 1)],
  ["a last one of one byte", shorter(5, 999)],
  ["a longer one after shorter ones", (p) => [0, 1, 2].reduce((all, i) => shorter(i, 10)(all), p)],
  ["another hop limit", edit(3, (b, { l3 }) => (b[l3 + (b[l3] >> 4 === 4 ? 8 : 7)] -= 1))],
  ["another traffic class", edit(3, (b, { l3 }) => (b[l3 + 1] ^= 0x20))],
  ["a wrong checksum", (p) => edit(3, () => {})(p).map((one, i) => (i === 3 ? damaged(one) : one))],
  ["another flow between", (p) => p.flatMap((one) => [one, otherPort(one)])],
];
const OF_TCP: [string, Change][] = [
  ["PSH", flags(2, 0x18)],
  ["PSH on the first", flags(0, 0x18)],
  ["FIN on the last", flags(5, 0x11)],
  ["FIN among them", flags(3, 0x11)],
  ["URG", flags(3, 0x30)],
  ["ECE", flags(3, 0x50)],
  ["CWR", flags(3, 0x90)],
  ["SYN", flags(3, 0x12)],
  ["RST", flags(3, 0x14)],
  ["one missing", (p) => p.toSpliced(3, 1)],
  ["one twice", (p) => p.toSpliced(3, 0, p[3])],
  ["two the wrong way round", (p) => p.with(2, p[3]).with(3, p[2])],
  ["another acknowledgement", edit(3, (b, { l4 }) => (b[l4 + 11] ^= 1))],
  ["another window", edit(3, (b, { l4 }) => (b[l4 + 15] ^= 1))],
  ["another option", edit(3, (b, { l4 }) => (b[l4 + 25] ^= 1))],
  ["an acknowledgement without data", shorter(3, 1000)],
  ["PSH and shorter", both(flags(2, 0x18), shorter(2, 5))],
];
const OF_UDP: [string, Change][] = [
  ["without a checksum", (p) => p.map((one) => unsummed(one))],
  ["one without a checksum", (p) => p.with(3, unsummed(p[3]))],
];
/**
 * IPv4 only: fragmentation and identification. Not here: with one id for all of them the kernel puts packets together as
 * well, and takes them apart again in front of any device (SKB_GSO_TCP_FIXEDID).
 */
const OF_IPV4: [string, Change][] = [
  ["an id that is not the next", edit(3, (b, { l3 }) => (b[l3 + 5] += 9))],
  ["DF, then one without", edit(3, (b, { l3 }) => (b[l3 + 6] = 0))],
];

function damaged(p: SuperPacket): SuperPacket {
  const bytes = Uint8Array.from(p.bytes);
  bytes[p.l4 + (p.protocol === 6 ? 16 : 6)] ^= 1;
  return { ...p, bytes };
}

/** A UDP checksum of zero: none (RFC 768). */
function unsummed(p: SuperPacket): SuperPacket {
  const bytes = Uint8Array.from(p.bytes);
  bytes.fill(0, p.l4 + 6, p.l4 + 8);
  return { ...p, bytes };
}

function otherPort(p: SuperPacket): SuperPacket {
  const bytes = Uint8Array.from(p.bytes);
  bytes[p.l4 + 1] ^= 1;
  return { ...p, bytes: finished({ ...p, bytes }) };
}

const ethtool = spawnSync("ethtool", ["--version"]).error === undefined;
const needs = ethtool ? "" : " (skipped: needs ethtool)";

describeKernel("coalescing", () => {
  const buffer = new Uint8Array(new SharedArrayBuffer(131072));
  const address = addressOf(buffer);
  let ns: TestNamespace;
  let x = -1;
  let y: OpenDevice;
  let ours: Finisher;

  beforeAll(async () => {
    ns = new TestNamespace();
    ns.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
    ns.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0");
    ns.inside(() => {
      x = open(TUN_DEVICE, O_RDWR);
      expect(tunSetIff(x, "x", IFF_TUN | IFF_NO_PI | IFF_NAPI)).toBe(0);
    });
    ns.ip("address add 10.1.0.1/24 dev x");
    ns.ip("address add fd01::1/64 dev x");
    ns.ip("link set x up");
    // The kernel does it for UDP that is forwarded where it is told to.
    if (ethtool) ns.run("ethtool", "-K", "x", "rx-udp-gro-forwarding", "on");
    ns.run("sh", "-c", `echo ${FLUSH} > /sys/class/net/x/gro_flush_timeout`);
    y = openTun({
      mode: "tun",
      name: "y",
      queues: 1,
      addresses: ["10.2.0.1/24", "fd02::1/64"],
      routes: [],
      mtu: 1500,
      netns: ns.name,
      offload: "on",
      persist: false,
      owner: undefined,
      group: undefined,
      txqueuelen: 5000,
      mac: undefined,
      bridge: undefined,
    });
    ours = await Finisher.make();
  });
  afterAll(() => {
    if (x >= 0) close(x);
    y?.close();
    ns?.remove();
  });

  /** What leaves, by flow (its source port), as it is on the wire and in how many segments. */
  type Flows = Record<string, string[]>;
  function add(flows: Flows, bytes: Uint8Array, gsoType: number, gsoSize: number): void {
    const port = `port ${bytes[bytes[0] >> 4 === 4 ? 21 : 41]}`;
    const text = `type ${gsoType & 0x7f} size ${gsoSize}: ${Buffer.from(bytes).toString("hex")}`;
    flows[port] = [...(flows[port] ?? []), text];
  }

  function throughKernel(packets: SuperPacket[]): Flows {
    for (const { bytes } of packets) {
      buffer.set(bytes);
      expect(write(x, address, bytes.length)).toBe(bytes.length);
    }
    const flows: Flows = {};
    const pollfd = new Int32Array([y.fds[0], POLLIN]);
    while (ppoll(addressOf(pollfd), 1, 2 * FLUSH) > 0) {
      const length = read(y.fds[0], address, buffer.length);
      const packet = buffer.slice(VNET_HEADER, length);
      const protocol = packet[0] >> 4 === 4 ? packet[9] : packet[6];
      const { gsoType, gsoSize } = readVnet(buffer, 0);
      if (protocol === 6 || protocol === 17) add(flows, packet, gsoType, gsoSize);
    }
    return flows;
  }

  function byUs(packets: SuperPacket[]): Flows {
    ours.receive(
      packets.map((p) => ({ bytes: routed(p) })),
      3,
    );
    const flows: Flows = {};
    for (const { bytes, vnet } of ours.finish(ALL_OFFLOADS)) add(flows, bytes, vnet.gsoType, vnet.gsoSize);
    return flows;
  }

  /** As it is behind a router; a wrong checksum stays as wrong as it was. */
  function routed(p: SuperPacket): Uint8Array {
    const bytes = Uint8Array.from(p.bytes);
    const v4 = bytes[0] >> 4 === 4;
    bytes[v4 ? 8 : 7]--;
    if (v4) bytes.set(finished({ ...p, bytes }).subarray(10, 12), 10);
    return bytes;
  }

  /** Fewer packets, or as many of which the first took in more. */
  function isBetter(a: Flows, b: Flows): boolean {
    const [x, y] = [Object.values(a).flat(), Object.values(b).flat()];
    return x.length < y.length || (x.length === y.length && x[0]?.length > y[0]?.length);
  }

  function expectAsKernel(packets: SuperPacket[], order = (packets: string[]) => packets): void {
    const wanted = ordered(byUs(packets));
    let fewest: Flows | undefined;
    for (let i = 0; i < TRIES; i++) {
      const flows = ordered(throughKernel(packets));
      if (fewest === undefined || isBetter(flows, fewest)) fewest = flows;
      if (JSON.stringify(fewest) === JSON.stringify(wanted)) break;
    }
    expect(wanted).toEqual(fewest);

    function ordered(flows: Flows): Flows {
      return Object.fromEntries(
        Object.keys(flows)
          .sort()
          .map((flow) => [flow, order(flows[flow])]),
      );
    }
  }

  function packetsOf(shape: Shape): SuperPacket[] {
    const whole = build(shape);
    return segmentsOf(whole).map((bytes) => ({ ...whole, bytes }));
  }

  for (const family of [4, 6] as const) {
    const cases = [...ANY, ...OF_TCP, ...(family === 4 ? OF_IPV4 : [])];
    test.each(cases)(`TCP over IPv${family}: %s`, (name, change) => {
      const order = OVERTAKES.test(name) ? (packets: string[]) => packets.toSorted() : undefined;
      expectAsKernel(change(packetsOf({ ...TCP, family })), order);
    });

    // Where neither sequence numbers nor ids show that one is missing, the kernel goes on behind it as if nothing were.
    const ofUdp = [...ANY, ...OF_UDP].filter(([name]) => family === 4 || !OVERTAKES.test(name));
    test.skipIf(!ethtool).each(ofUdp)(`UDP over IPv${family}: %s${needs}`, (name, change) => {
      const order = OVERTAKES.test(name) ? (packets: string[]) => packets.toSorted() : undefined;
      expectAsKernel(change(packetsOf({ ...TCP, protocol: 17, family })), order);
    });

    test.skipIf(!ethtool)(`UDP over IPv${family}: more than 64 in a row${needs}`, () => {
      expectAsKernel(packetsOf({ ...TCP, protocol: 17, family, size: 36, bytes: 36 * 70 }));
    });

    test(`TCP over IPv${family}: as many as make the longest packet, and more`, () => {
      expectAsKernel(packetsOf({ ...TCP, family, size: 1400, bytes: 63_000 }));
      expectAsKernel([
        ...packetsOf({ ...TCP, family, size: 1400, bytes: 42_000 }),
        ...packetsOf({ ...TCP, family, size: 1400, bytes: 42_000, seq: 43_000, id: 37 }),
      ]);
    });
  }
});
