// V8's flags are the process's: the command line sets them, the library leaves a program's alone.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { MAIN, ROOT, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

/** Says every flag that is set, in any of the process's threads. */
const SPY = `
import { writeSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import v8 from "node:v8";
v8.setFlagsFromString = (flag) => writeSync(2, \`sets \${flag}\\n\`);
syncBuiltinESMExports();
`;
const spied = (...args: string[]) => {
  const spy = folder.file("spy.mjs");
  writeFileSync(spy, SPY);
  return spawnSync(process.execPath, ["--import", spy, ...args], {
    cwd: ROOT,
    encoding: "utf8",
    env: { ...process.env, TMPDIR: folder.path },
  });
};

test("pktflow run compiles early", () => {
  const { stderr, status } = spied(MAIN, "run", "pipelines/quickstart.yaml", "--quiet", "--for", "100ms");
  expect(stderr.match(/^sets --\S+$/gm)).toEqual([
    "sets --interrupt-budget=5000",
    "sets --interrupt-budget-for-feedback-allocation=200",
  ]);
  expect(status).toBe(0);
});

test("a program that runs a pipeline keeps the flags that it has", () => {
  const { stdout, stderr, status } = spied("pipelines/code/memory.mjs");
  expect(stderr).toBe("");
  expect(stdout).toContain("missing: 0\n");
  expect(status).toBe(0);
});
