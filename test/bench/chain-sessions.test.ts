// The C chain does what nat does by default: sessions, and filtering by remote address (RFC 4787 section 5).
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ROOT, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const compiler = spawnSync("cc", ["--version"]).error === undefined;

test.skipIf(!compiler)("all go out, answers come back, nobody else gets in (takes cc)", () => {
  const program = join(folder.path, "chain-sessions");
  const source = join(ROOT, "test/bench/chain-sessions.c");
  expect(spawnSync("cc", ["-O1", "-o", program, source], { encoding: "utf8" })).toMatchObject({ status: 0 });
  expect(spawnSync(program, { encoding: "utf8" }).stdout).toBe("50000 50000 0 50000\n");
});
