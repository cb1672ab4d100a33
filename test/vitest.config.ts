import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/** Tests that compute only: they share nothing, and run as many at a time as there are processors. */
const UNITS = ["assembly", "batches", "config", "filters", "fuzz", "params", "plan"].map(
  (folder) => `test/${folder}/**/*.test.ts`,
);

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    testTimeout: 180_000,
    hookTimeout: 180_000,
    projects: [
      {
        extends: true,
        test: {
          name: "units",
          include: UNITS,
          maxWorkers: availableParallelism(),
          sequence: { groupOrder: 1 },
        },
      },
      {
        // Those that run pktflow, open devices or make hosts: one after another, for each of them takes every processor.
        extends: true,
        test: {
          name: "programs",
          include: ["test/**/*.test.ts"],
          exclude: UNITS,
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
