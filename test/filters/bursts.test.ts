// A filter that lets go of what it held may hand on more packets at once than one call may have: every filter behind it
// gets them in calls of BATCH_PACKETS at most, and none is lost.
import { expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { VirtualWorker } from "../support/virtual-worker.ts";

const PACKETS = 1000;
/** Filter, and the output of it that leads elsewhere. */
const BEHIND: [string, string?][] = [
  ["{ kind: nat, inside: 10.0.0.0/8, outside: [198.51.100.1, 198.51.100.2] }"],
  ["{ kind: acl, stateful: true, rules: [{ action: accept, proto: udp }] }"],
  ["{ kind: checksum, verify: [ipv4, udp] }"],
  ["{ kind: balance, backends: [{ name: one, via: next }] }"],
  ["{ kind: police, cir: 1Gbit, cbs: 1MiB }"],
  ["{ kind: route, routes: [{ to: 0.0.0.0/0, via: next }] }"],
  ["{ kind: shape, rate: 10Gbit, limit: 1000 }"],
  ["{ kind: ttl }", "expired"],
  ["{ kind: mirror }", "copy"],
];

test.each(BEHIND)("a thousand packets that come due at once go through %s", async (filter, output) => {
  const step = output === undefined ? "behind" : `{ behind: { ${output}: other } }`;
  const worker = await VirtualWorker.make(`
pktflow: 1
devices:
  lan: { kind: tun, address: 10.77.0.1/24 }
  wan: { kind: tun, address: 198.51.100.9/24 }
filters:
  slow: { kind: impair, delay: 10ms, limit: ${PACKETS} }
  behind: ${filter}
paths:
  out: { from: lan, through: [slow, ${step}], to: wan }
${output === undefined ? "" : "  other: { to: drop }"}
`);
  const packets = Array.from(
    { length: PACKETS },
    (_, i) =>
      buildPacket({
        ipv4: { from: "10.77.0.5", to: "198.51.100.77", ttl: 64 },
        udp: { "from-port": 2000 + i, "to-port": 53 },
        payload: "hello",
      }).bytes,
  );
  expect(worker.send("lan", packets)).toBe(true);
  worker.advance(30e6);
  const { packets: seen, traps, counters } = worker.report().filters["behind"];
  expect({ seen, traps }).toEqual({ seen: PACKETS, traps: 0 });
  expect(worker.left).toHaveLength(PACKETS);
  expect(worker.balance().missing).toBe(0);
  // None was written over by what has no room in a call. Some count bytes, 33 a packet.
  for (const count of Object.values(counters)) expect(count).toBeLessThanOrEqual(33 * PACKETS);
});
