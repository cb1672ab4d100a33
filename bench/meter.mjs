/**
 * What meter costs: ns a packet where all sources have a row, where few of many have, and where every packet is of another one, so that
 * it takes the row of the smallest each time. 16,384 packets in batches of 64. Run after `npm run build`: node bench/meter.mjs [entries]
 */
import { cpus } from "node:os";
import { load, time } from "./acl.mjs";

const PACKETS = 16_384;
const entries = Number(process.argv[2] ?? 1024);
let state = 1;
function random(below) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}
/** Zipf's law with exponent 1 over so many, by the inverse of its integral. */
const zipf = (count) => Math.floor(count ** (random(1_000_000) / 1_000_000)) - 1;
const TRAFFIC = {
  "100 sources": () => random(100),
  "100,000 sources, Zipf": () => zipf(100_000),
  "16,384 sources, one packet each": (i) => i,
};
const packet = (host) => ({
  ipv4: { from: `10.${host >> 16}.${(host >> 8) & 255}.${host & 255}`, to: "192.0.2.1" },
  udp: { "from-port": 1024 + (host % 50_000), "to-port": 53 },
  payload: { bytes: 36 },
});

console.log(
  `${cpus()[0].model}, node ${process.version}, ${PACKETS} packets in batches of 64, ${entries} entries`,
);
for (const per of ["from", "flow"]) {
  for (const [name, host] of Object.entries(TRAFFIC)) {
    const packets = Array.from({ length: PACKETS }, (_, i) => packet(host(i)));
    const one = await load({ per, entries }, packets, ["next", "drop"], "meter");
    console.log(`${time(one.run, PACKETS).toFixed(1).padStart(7)}  per: ${per}, ${name}`);
  }
}
