// ethernet over time: whatever neighbors answer, and when, each packet leaves once, to where its neighbor was said to be last, in
// order; nobody is asked more often than said; and scapy reads every question and answer.
import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { LACKS_SCAPY } from "../support/scapy.ts";
import { type Departure, VirtualWorker } from "../support/virtual-worker.ts";

const PIPELINE = `
pktflow: 1
devices: { lan: { kind: tap }, wan: { kind: tun } }
filters:
  link: { kind: ethernet, mac: "02:00:00:00:00:aa", address: [10.0.0.1/24, "fd00::1/64"], waiting: 8, queue: 40, reachable: 5s }
paths:
  up: { from: lan, through: [{ link: { answer: answers, unresolved: lost } }], to: wan }
  down: { from: wan, through: [{ link: { answer: answers, unresolved: lost } }], to: lan }
  answers: { to: lan }
  lost: { to: drop }`;

const OWN = [2, 0, 0, 0, 0, 0xaa];
const NEIGHBORS = 4;
const macOf = (neighbor: number, move: number) => [2, 0, 0, 0, move, neighbor];
const hex = (bytes: ArrayLike<number>) => Buffer.from(Uint8Array.from(bytes as number[])).toString("hex");

function to(neighbor: number, id: number): Uint8Array {
  return buildPacket({ ipv4: { from: "192.0.2.1", to: `10.0.0.${10 + neighbor}`, id }, udp: {} }).bytes;
}
function arp(operation: number, neighbor: number, move: number): Uint8Array {
  const mac = macOf(neighbor, move);
  const head = [
    ...(operation === 1 ? [255, 255, 255, 255, 255, 255] : OWN),
    ...mac,
    8,
    6,
    0,
    1,
    8,
    0,
    6,
    4,
    0,
    operation,
  ];
  const target = operation === 1 ? [0, 0, 0, 0, 0, 0] : OWN;
  return Uint8Array.from([...head, ...mac, 10, 0, 0, 10 + neighbor, ...target, 10, 0, 0, 1]);
}

interface Step {
  does: "send" | "reply" | "request" | "pass";
  neighbor: number;
  /** The neighbor has another address on the link now. */
  moves: boolean;
  /** How much time passes. */
  ms: number;
}
const neighbor = fc.nat(NEIGHBORS - 1);
const steps = fc.array(
  fc.record<Step>({
    does: fc.constantFrom("send", "send", "send", "send", "reply", "request", "pass", "pass"),
    neighbor,
    moves: fc.boolean(),
    ms: fc.constantFrom(1, 400, 1000, 2500, 7000),
  }),
  { maxLength: 60 },
);

test("each packet leaves once, in order, to where its neighbor is, and nobody is asked too often", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const worker = await VirtualWorker.make(PIPELINE);
      /** Where each neighbor is; undefined: nobody has said. */
      const known: (string | undefined)[] = Array.from({ length: NEIGHBORS });
      const moved = Array.from({ length: NEIGHBORS }, () => 0);
      const last = Array.from({ length: NEIGHBORS }, () => -1);
      const asked = Array.from({ length: NEIGHBORS }, () => Number.NEGATIVE_INFINITY);
      let id = 0;
      let framed = 0;
      const look = () => {
        for (const { device, bytes, at } of worker.left.splice(0)) {
          expect(device).toBe("lan");
          if (bytes[13] === 6 && bytes[21] === 2) continue;
          if (bytes[13] === 6) {
            const about = bytes[41] - 10;
            // Only an answer that came since may make another question due at once.
            expect(at - asked[about]).toBeGreaterThanOrEqual(1e9);
            asked[about] = at;
            continue;
          }
          const about = bytes[33] - 10;
          expect(hex(bytes.slice(0, 6))).toBe(known[about]);
          expect(hex(bytes.slice(6, 14))).toBe(`${hex(OWN)}0800`);
          const number = bytes[18] * 256 + bytes[19];
          expect(number).toBeGreaterThan(last[about]);
          last[about] = number;
          framed++;
        }
      };
      for (const step of all) {
        if (step.does === "pass") worker.advance(step.ms * 1e6);
        else if (step.does === "send") worker.send("wan", [to(step.neighbor, id++)]);
        else {
          if (step.moves) moved[step.neighbor]++;
          known[step.neighbor] = hex(macOf(step.neighbor, moved[step.neighbor]));
          worker.send("lan", [arp(step.does === "reply" ? 2 : 1, step.neighbor, moved[step.neighbor])]);
        }
        look();
      }
      // All is decided after three questions.
      worker.advance(4e9);
      look();
      const { counters, held } = worker.report().filters["link"];
      expect(held).toBe(0);
      expect(framed + counters["unresolved"] + counters["queue-full"]).toBe(id);
      expect(worker.balance().missing).toBe(0);
    }),
    { numRuns: 60 },
  );
});

test.skipIf(LACKS_SCAPY !== undefined)(
  "scapy reads what it asks and answers, checksums right (needs scapy)",
  async () => {
    const worker = await VirtualWorker.make(PIPELINE);
    const solicit = buildPacket({
      ethernet: { from: "02:00:00:00:00:05", to: "33:33:ff:00:00:01" },
      ipv6: { from: "fd00::5", to: "ff02::1:ff00:1", "hop-limit": 255 },
      icmpv6: { type: 135, code: 0, rest: 0 },
      payload: { hex: "fd000000000000000000000000000001 0101 020000000005" },
    }).bytes;
    worker.send("wan", [to(0, 1), buildPacket({ ipv6: { from: "fd01::1", to: "fd00::77" }, udp: {} }).bytes]);
    worker.send("lan", [arp(1, 1, 0), solicit]);
    const frames = worker.left.map((one: Departure) => hex(one.bytes));
    const script = `import sys
from scapy.all import *
for line in sys.argv[1:]:
    p = Ether(bytes.fromhex(line)); q = Ether(bytes.fromhex(line))
    if ICMPv6ND_NS in q: del q[ICMPv6ND_NS].cksum
    if ICMPv6ND_NA in q: del q[ICMPv6ND_NA].cksum
    print(p.summary(), raw(Ether(raw(q))) == raw(p))`;
    const { stdout } = spawnSync("/usr/bin/python3", ["-c", script, ...frames], { encoding: "utf8" });
    expect(stdout.trim().split("\n")).toEqual([
      "Ether / ARP who has 10.0.0.10 says 10.0.0.1 True",
      "Ether / IPv6 / ICMPv6ND_NS / ICMPv6 Neighbor Discovery Option - Source Link-Layer Address 02:00:00:00:00:aa True",
      "Ether / ARP is at 02:00:00:00:00:aa says 10.0.0.1 True",
      "Ether / IPv6 / ICMPv6ND_NA / ICMPv6 Neighbor Discovery Option - Destination Link-Layer Address 02:00:00:00:00:aa True",
    ]);
  },
);
