// The C chain finds the first rule that matches, whatever the rules are.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ROOT, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const compiler = spawnSync("cc", ["--version"]).error === undefined;

test.skipIf(!compiler)("trees answer as going through all rules does (takes cc)", () => {
  const program = join(folder.path, "chain-rules");
  const source = join(ROOT, "test/bench/chain-rules.c");
  expect(spawnSync("cc", ["-O1", "-o", program, source], { encoding: "utf8" })).toMatchObject({ status: 0 });
  expect(spawnSync(program, { encoding: "utf8" }).stdout).toBe("300000 0 1\n");
});
