// Since when a run's seconds count: worker 0 works while others still start.
import { expect, test } from "vitest";
import { WORKER_CONTROL } from "../../src/batches/control.ts";
import { loadPipeline } from "../../src/config/pipeline.ts";
import { clockMonotonic } from "../../src/sys/calls.ts";
import { startPipeline } from "../../src/workers/pipeline.ts";

test("since the first worker's loop began, which each says before it runs", async () => {
  const set = ["workers=4", "devices.traffic.queues=1"];
  const running = await startPipeline(loadPipeline("pipelines/quickstart.yaml", { set }), { io: "auto" });
  const { m, plan } = running;
  const began = plan.workers.map(({ control }) => m.u32[(control + WORKER_CONTROL.STARTED) >>> 2]);
  const now = Math.floor(clockMonotonic() / 1000) % 2 ** 32;
  const { seconds } = running.report();
  running.stop();
  await running.ended;
  expect(began).toHaveLength(4);
  expect(began).not.toContain(0);
  const oldest = Math.max(...began.map((since) => (now - since) >>> 0));
  // The report rounds to a ms.
  expect(seconds * 1e6).toBeGreaterThanOrEqual(oldest - 1000);
});
