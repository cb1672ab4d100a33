// Since when a run's seconds count: worker 0 works while others still start.
import { expect, test } from "vitest";
import { pipeline } from "../../src/library/pipeline.ts";
import { run } from "../../src/library/run.ts";

const RATE = 50_000;
const PACKETS = 4000;

test("no run has moved more packets a second than its generator makes", async () => {
  const running = await run(
    pipeline({
      workers: 3,
      devices: {
        load: {
          kind: "generator",
          rate: `${RATE}pps`,
          packets: PACKETS,
          flows: { from: "10.0.0.1", to: "192.0.2.1" },
        },
        sink: { kind: "discard" },
      },
      paths: { main: { from: "load", to: "sink" } },
    }),
  );
  const { seconds, devices } = await running.ended;
  expect(devices["sink"].queues[0].tx.packets).toBe(PACKETS);
  // The last ones come a batch early at most, and the report rounds to a ms.
  expect(PACKETS - 64).toBeLessThanOrEqual(RATE * (seconds + 0.001));
});
