// A filter of one's own under a TypeScript program: it feeds packets, hears what the filter logs, and ends the run when it has heard
// enough. No privilege.
//
//     bun pipelines/code/knock.ts, deno run -A pipelines/code/knock.ts, node pipelines/code/knock.ts (Node.js 22.18 and later)
import { conservation, pipeline, run } from "pktflow";

const flow = pipeline(
  {
    name: "knock",
    devices: { outside: { kind: "memory" }, inside: { kind: "memory" } },
    filters: { door: { kind: "./filters/port-knock", knocks: [7000, 8000, 9000], port: 22 } },
    paths: { in: { from: "outside", through: ["door"], to: "inside" } },
  },
  // Where ./filters is.
  { base: new URL("..", import.meta.url) },
);

/** An IPv4 packet from 192.0.2.7 with UDP and no data; checksums are left out, for nobody looks at them here. */
function datagram(port: number): Uint8Array {
  const packet = new Uint8Array(28);
  packet.set([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 7, 198, 51, 100, 1]);
  packet.set([0x9c, 0x40, port >> 8, port & 0xff, 0, 8], 20);
  return packet;
}

const heard = new AbortController();
const running = await run(flow, {
  signal: heard.signal,
  onLog: ({ filter, text }) => {
    console.log(`${filter}: ${text}`);
    heard.abort();
  },
});
running.devices.outside.send([7000, 8000, 9000].map(datagram));
const report = await running.ended;
console.log(`missing: ${conservation(report).missing}`);
