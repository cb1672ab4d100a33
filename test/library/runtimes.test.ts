// The same build under Node.js, Bun and Deno: the examples in pipelines/code, and a lab with the kernel's own devices.
// Bun and Deno are looked for in the PATH and where .ci/run puts them (node_modules/.cache/runtimes).
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { describe, expect, test } from "vitest";
import { describeKernel } from "../support/namespace.ts";
import { MAIN, ROOT } from "../support/pktflow.ts";

const FOLDERS = [
  join(ROOT, "node_modules/.cache/runtimes/node_modules/.bin"),
  ...(process.env["PATH"] ?? "").split(delimiter),
];
const find = (name: string) => FOLDERS.map((folder) => join(folder, name)).find((path) => existsSync(path));

const RUNTIMES: [string, string | undefined, string[]][] = [
  ["Node.js", process.execPath, []],
  ["Bun", find("bun"), []],
  ["Deno", find("deno"), ["run", "-A"]],
];

describe.each(RUNTIMES)("under %s", (name, command, args) => {
  const run = (...rest: string[]) =>
    spawnSync(command!, [...args, ...rest], {
      cwd: ROOT,
      encoding: "utf8",
      env: { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
      timeout: 50_000,
    });
  const runs = command !== undefined && spawnSync(command, ["--version"]).status === 0;
  describe.skipIf(!runs)(`(skipped where there is no ${name})`, () => {
    test("pipelines/code/memory.mjs: packets in and out of memory", () => {
      expect(run("pipelines/code/memory.mjs")).toMatchObject({
        stdout:
          "from 192.0.2.1 to port 53\nfrom 192.0.2.1 to port 8080\ndropped by the firewall: 1\nmissing: 0\n",
        stderr: "",
        status: 0,
      });
    });
    test("pipelines/code/live.mjs: live counters and a stop", () => {
      const { stdout, stderr, status } = run("pipelines/code/live.mjs");
      expect(stdout).toMatch(/^(\d\.\d s: (packets flow|none yet)\n){3}everything went on: true\n$/);
      expect(stdout).toContain("packets flow");
      expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
    });
    describeKernel("with the kernel's devices", () => {
      test("the self-check of a lab passes", () => {
        const { stdout, status } = run(MAIN, "lab", "pipelines/nat-gateway.yaml");
        expect(stdout).toMatch(/\nself-check passed: /);
        expect(status).toBe(0);
      });
    });
  });
});
