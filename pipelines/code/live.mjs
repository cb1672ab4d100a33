// Live counters of a pipeline while it runs, and a stop. No privilege.
//
//     node pipelines/code/live.mjs
//
// @ts-check
import { setTimeout as sleep } from "node:timers/promises";
import { pipeline, run } from "pktflow";

const flow = pipeline({
  devices: {
    load: { kind: "generator", flows: { from: "10.0.0.1", to: "192.0.2.0/24", count: 200 }, rate: "50kpps" },
    sink: { kind: "discard" },
  },
  filters: {
    hops: { kind: "ttl" },
  },
  paths: {
    main: { from: "load", through: [{ hops: { expired: "old" } }], to: "sink" },
    old: { to: "drop" },
  },
});

const running = await run(flow, { for: "10s" });
for (let i = 0; i < 3; i++) {
  await sleep(100);
  const { seconds, filters } = running.report();
  console.log(`${seconds.toFixed(1)} s: ${filters["hops"].packets > 0 ? "packets flow" : "none yet"}`);
}
const report = await running.stop();
console.log(
  `everything went on: ${report.filters["hops"].packets === report.filters["hops"].outputs["next"]}`,
);
