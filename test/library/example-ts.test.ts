// pipelines/code/knock.ts as a user has it: beside filters, with the package in node_modules, type-checked, compiled, run.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ROOT, TemporaryFolder } from "../support/pktflow.ts";

const project = new TemporaryFolder();
afterAll(() => project.remove());

test("feeds packets, hears what a filter logs, and stops by an AbortSignal", () => {
  mkdirSync(project.file("node_modules"));
  symlinkSync(ROOT, project.file("node_modules/pktflow"));
  symlinkSync(join(ROOT, "node_modules/@types"), project.file("node_modules/@types"));
  cpSync(join(ROOT, "pipelines/code/knock.ts"), project.file("code/knock.ts"));
  cpSync(join(ROOT, "pipelines/filters/port-knock"), project.file("filters/port-knock"), { recursive: true });
  writeFileSync(project.file("package.json"), '{ "type": "module" }');
  const options = { module: "nodenext", target: "es2023", strict: true, types: ["node"], lib: ["es2023"] };
  writeFileSync(
    project.file("tsconfig.json"),
    JSON.stringify({ compilerOptions: { ...options, skipLibCheck: true }, files: ["code/knock.ts"] }),
  );
  const tsc = join(ROOT, "node_modules/.bin/tsc");
  expect(spawnSync(tsc, ["-p", "."], { cwd: project.path, encoding: "utf8" }).stdout).toBe("");
  const output = execFileSync(process.execPath, ["code/knock.js"], {
    cwd: project.path,
    encoding: "utf8",
    env: { ...process.env, XDG_CACHE_HOME: project.file("cache") },
  });
  expect(output).toBe("door: opened to 192.0.2.7\nmissing: 0\n");
});
