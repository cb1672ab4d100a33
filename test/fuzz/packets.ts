/** Packets at random: well-formed ones of all kinds between few endpoints, then mutated, cut, or nothing but noise. */
import { type BuiltPacket, buildPacket } from "../../src/filters/notation.ts";
import type { Chance } from "./chance.ts";
import { IPV4, IPV6 } from "./params.ts";

export const LONGEST = 1600;

export interface FuzzPacket extends BuiltPacket {
  /** It is a super-packet, if it is of the type: that of virtio_net_hdr, and bytes of data in each segment. */
  gso?: { type: number; size: number };
}
const PORTS = [0, 4789, 53, 80, 443, 1024, 5000, 5001, 65_535];

function ip(chance: Chance, isIpv4: boolean): Record<string, unknown> {
  const common = { from: chance.of(isIpv4 ? IPV4 : IPV6), to: chance.of(isIpv4 ? IPV4 : IPV6) };
  if (!isIpv4) {
    const extensions = [
      { "hop-by-hop": {} },
      { destination: {} },
      { routing: { type: 4, "segments-left": chance.below(2), data: "0000" } },
      { fragment: { offset: 8 * chance.below(3), more: chance.once(2), id: chance.below(3) } },
    ];
    return {
      ipv6: {
        ...common,
        "hop-limit": chance.below(4) * 80,
        extensions: extensions.filter(() => chance.once(6)),
      },
    };
  }
  const fragment = chance.once(5)
    ? { flags: chance.once(2) ? ["mf"] : [], offset: 8 * chance.below(4), id: chance.below(3) }
    : {};
  const options = chance.of(["", "", "", "94040000", "0101010101010101", "83070440404040ff", "89ff0000"]);
  return { ipv4: { ...common, ttl: chance.below(4) * 80, tos: chance.below(256), options, ...fragment } };
}

function transport(chance: Chance, isIpv4: boolean, quoting: boolean): Record<string, unknown> {
  const ports = { "from-port": chance.of(PORTS), "to-port": chance.of(PORTS) };
  const checksum = chance.of(["right", "right", "right", "wrong", ...(quoting ? [] : ["partial"])]);
  switch (chance.below(7)) {
    case 0:
    case 1: {
      const all = ["fin", "syn", "rst", "psh", "ack", "urg"];
      const options = chance.of(["", "020405b4", "0101080a0000000100000002"]);
      return { tcp: { ...ports, flags: all.filter(() => chance.once(3)), options, checksum } };
    }
    case 2:
    case 3:
      return {
        udp: { ...ports, checksum: chance.once(4) ? "none" : checksum },
        ...(ports["to-port"] === 53 && !quoting ? { payload: { hex: dnsQuery(ports["from-port"]) } } : {}),
      };
    case 4:
      return { [isIpv4 ? "icmp" : "icmpv6"]: { id: chance.of(PORTS), seq: 1, checksum } };
    case 5: {
      const type = isIpv4 ? chance.of([0, 3, 5, 11, 12, 13, 14, 17]) : chance.of([1, 2, 3, 4, 129, 135]);
      const inner = quoting
        ? { payload: { bytes: 8 } }
        : { payload: { packet: notation(chance, isIpv4, true) } };
      return { [isIpv4 ? "icmp" : "icmpv6"]: { type, code: chance.below(5), rest: 0, checksum }, ...inner };
    }
    default:
      return {};
  }
}

/** A query for a name below one that may be listed, of a type that the port chooses, every other time with EDNS. */
function dnsQuery(port: number): string {
  const name = "0161 03616473 076578616d706c65 00".replaceAll(" ", "");
  const type = ["0001", "001c", "00ff", "0010"][port % 4];
  const edns = port % 2 === 0;
  const header = `1234 0100 0001 0000 0000 000${edns ? 1 : 0}`.replaceAll(" ", "");
  return `${header}${name}${type}0001${edns ? "00002904d000008000000c000a00080102030405060708" : ""}`;
}

function notation(chance: Chance, isIpv4: boolean, quoting = false): Record<string, unknown> {
  const header = ip(chance, isIpv4);
  const above = transport(chance, isIpv4, quoting);
  const length = chance.once(10) ? chance.below(1200) : chance.below(80);
  const data = "payload" in above ? {} : { payload: { bytes: length } };
  if (Object.keys(above).length > 0) return { ...header, ...above, ...data };
  const field = isIpv4 ? "protocol" : "next-header";
  const of = isIpv4 ? "ipv4" : "ipv6";
  return { [of]: { ...(header[of] as object), [field]: chance.of([6, 17, 1, 58, 47, 50, 4, 41]) }, ...data };
}

/** Questions, answers, and what is neither. */
function arp(chance: Chance): BuiltPacket {
  const mac = () => chance.of(["020000000001", "020000000005", "ffffffffffff"]);
  const address = () => chance.of(["0a4d0001", "0a4d0005", "00000000"]);
  const body = `00010800060400${chance.of(["01", "02", "03"])} ${mac()} ${address()} ${mac()} ${address()}`;
  return buildPacket({ hex: `${mac()} ${mac()} 0806 ${body}` });
}

/** @param layer 2: behind an Ethernet header, and maybe VLAN tags */
export function randomPacket(chance: Chance, layer: 2 | 3): FuzzPacket {
  if (chance.once(20)) {
    const noise = Uint8Array.from({ length: chance.below(120) }, () => chance.below(256));
    return { bytes: noise, places: [], partial: undefined } as unknown as FuzzPacket;
  }
  if (layer === 2 && chance.once(12)) return arp(chance);
  const isIpv4 = !chance.once(3);
  const frame =
    layer === 3
      ? {}
      : {
          ethernet: chance.once(20) ? { type: 0x0806 } : {},
          ...(chance.once(4) ? { vlan: [{ id: 7 }] } : {}),
        };
  const built = buildPacket({ ...frame, ...notation(chance, isIpv4), ...(chance.once(8) ? { pad: 6 } : {}) });
  const bytes = Uint8Array.from(built.bytes);
  if (chance.once(3)) {
    for (let i = chance.between(1, 4); i > 0; i--) {
      // Headers decide more than data do.
      const at = chance.once(3) ? chance.below(bytes.length) : chance.below(Math.min(bytes.length, 60));
      bytes[at] = chance.once(3)
        ? bytes[at] ^ (1 << chance.below(8))
        : chance.of([0, 255, chance.below(256)]);
    }
  }
  const kept = chance.once(12) ? chance.below(bytes.length + 1) : bytes.length;
  const gso = chance.once(3) ? { type: chance.of([1, 4, 5]), size: chance.between(1, 600) } : undefined;
  return { ...built, bytes: bytes.subarray(0, Math.min(kept, LONGEST)), ...(gso && { gso }) };
}
