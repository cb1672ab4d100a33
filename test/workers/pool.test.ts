// Threads that are ended before they had anything to do, as when a pipeline's file is wrong or a device is refused.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "../support/pktflow.ts";

const POOL = join(ROOT, "build", "workers", "pool.js");

test("no thread is ended while it loads, for koffi aborts the process then", () => {
  const script = `
    import { Worker } from "node:worker_threads";
    import { startPool } from ${JSON.stringify(POOL)};
    const loaded = new WeakSet();
    let early = 0;
    const { emit, terminate } = Worker.prototype;
    Worker.prototype.emit = function (event, ...args) {
      if (event === "message") loaded.add(this);
      return emit.call(this, event, ...args);
    };
    Worker.prototype.terminate = function () {
      if (!loaded.has(this)) early++;
      return terminate.call(this);
    };
    for (const delay of [0, 20, 40, 60]) {
      const pool = startPool(1);
      await new Promise((resolve) => setTimeout(resolve, delay));
      pool.grow(2);
      await pool.close();
    }
    console.log("early", early);`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
  });
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "early 0\n", stderr: "" });
});
