// Packets as named fields, and the difference of two.
import { describe, expect, test } from "vitest";
import { differentBytes, differentFields } from "../../src/filters/diff.ts";
import { packetFields } from "../../src/filters/fields.ts";
import { buildPacket } from "../../src/filters/notation.ts";

const IPV4 = { from: "10.0.0.1", to: "10.0.0.2" };
const IPV6 = { from: "2001:db8::1", to: "2001:db8::2" };
const bytesOf = (notation: object) => buildPacket(notation).bytes;
const textOf = (notation: object, layer: 2 | 3 = 3) =>
  Object.fromEntries(packetFields(bytesOf(notation), layer).map(({ name, text }) => [name, text]));

describe("fields are called as cases.yaml calls them", () => {
  test("IPv4 and TCP", () => {
    const tcp = { "from-port": 1000, "to-port": 443, seq: 7, flags: ["syn", "ack"], options: "020405b4" };
    const ipv4 = { ...IPV4, ttl: 9, flags: ["df"], id: 0x1234, options: "94040000" };
    expect(textOf({ ipv4, tcp, payload: "hello" })).toMatchObject({
      "ipv4.header-length": "24",
      "ipv4.length": "53",
      "ipv4.id": "0x1234",
      "ipv4.flags, offset": "df, 0",
      "ipv4.ttl": "9",
      "ipv4.protocol": "6 (tcp)",
      "ipv4.from": "10.0.0.1",
      "ipv4.options": "94040000",
      "tcp.from-port": "1000",
      "tcp.to-port": "443",
      "tcp.seq": "7",
      "tcp.flags": "syn ack",
      "tcp.options": "020405b4",
      payload: '"hello"',
    });
  });
  test("Ethernet, VLAN tags, IPv6, UDP, ICMPv6", () => {
    const frame = {
      ethernet: {},
      vlan: [{ id: 7 }, { id: 8, priority: 3 }],
      ipv6: IPV6,
      udp: {},
      payload: { hex: "0001" },
    };
    expect(textOf(frame, 2)).toMatchObject({
      "ethernet.from": "02:00:00:00:00:01",
      "ethernet.type": "0x88a8",
      "vlan.tag": "id 8, priority 3",
      "vlan.type": "ipv6",
      "ipv6.hop-limit": "64",
      "ipv6.from": "2001:db8::1",
      "udp.length": "10",
      payload: "0001",
    });
    expect(textOf({ ipv6: IPV6, icmpv6: { id: 1, seq: 2 } })).toMatchObject({
      "icmpv6.type": "128",
      "icmpv6.rest": "0x00010002",
    });
  });
  test("every truncation is covered by fields to its last byte, none of which overlap", () => {
    const whole = bytesOf({
      ethernet: {},
      vlan: { id: 7 },
      ipv4: { ...IPV4, options: "94040000" },
      tcp: { options: "0101" },
    });
    for (let length = 0; length <= whole.length; length++) {
      const fields = packetFields(whole.subarray(0, length), 2);
      expect(fields.map(({ start }) => start)).toEqual(
        [0, ...fields.map(({ end }) => end)].slice(0, fields.length),
      );
      expect(fields.at(-1)?.end ?? 0).toBe(length);
    }
  });
  test("lengths that lie are not believed", () => {
    const packet = bytesOf({ ipv4: { ...IPV4, "header-length": 60 }, udp: {} });
    expect(packetFields(packet, 3).at(-1)?.end).toBe(packet.length);
  });
});

describe("a difference", () => {
  const sent = bytesOf({ ipv4: IPV4, udp: { "to-port": 53 }, payload: "hello" });
  const got = bytesOf({ ipv4: { ...IPV4, ttl: 63 }, udp: { "to-port": 53 }, payload: "hello" });

  test("names the fields, with what was expected and what came", () => {
    expect(differentFields(got, sent, 3)).toEqual([
      { name: "ipv4.ttl", expected: "64", actual: "63" },
      { name: "ipv4.checksum", expected: "0x66ca", actual: "0x67ca" },
    ]);
    expect(differentFields(sent, sent, 3)).toEqual([]);
  });
  test("of a field that one of them does not have", () => {
    const bare = bytesOf({ ipv4: IPV4, udp: { "to-port": 53 } });
    expect(differentFields(bare, sent, 3)).toContainEqual({
      name: "payload",
      expected: '"hello"',
      actual: "-",
    });
  });
  test("marks the bytes, and shows only lines that differ", () => {
    expect(differentBytes(got, sent)).toEqual([
      "0000  expected  45 00 00 21 00 00 00 00 40 11 66 ca 0a 00 00 01",
      "           got  45 00 00 21 00 00 00 00 3f 11 67 ca 0a 00 00 01",
      "                                        ^^    ^^",
    ]);
    expect(differentBytes(sent.subarray(0, 31), sent)[2]).toBe(`${" ".repeat(16 + 15 * 3)}^^`);
    expect(differentBytes(new Uint8Array(2000), new Uint8Array(2000).fill(1))).toHaveLength(12 * 3 + 1);
  });
});
