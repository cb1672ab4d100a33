// The directions of imports, and who alone may know a library: see "Layout" in CONTRIBUTING.md.
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, test } from "vitest";

const SOURCES = new URL("../src", import.meta.url).pathname;

/** What the files of each folder of src may import from other folders of src. */
const MAY_IMPORT: Record<string, string[]> = {
  params: [],
  batches: [],
  sys: [],
  // Parameters of device kinds are data beside the devices: only manifest.ts files, see below.
  config: ["params", "devices"],
  plan: ["config", "params", "batches"],
  filters: ["config", "params", "batches"],
  devices: ["config", "params", "batches", "plan", "io", "sys"],
  io: ["batches", "plan", "sys"],
  control: ["params", "batches", "plan", "sys"],
  workers: ["control", "io", "devices", "filters", "plan", "config", "params", "batches", "sys"],
  lab: ["workers", "control", "devices", "config", "plan", "params", "sys"],
  library: ["workers", "devices", "control", "filters", "config", "plan", "params", "batches", "sys"],
  bench: ["lab", "workers", "control", "devices", "filters", "config", "plan", "params", "batches", "sys"],
  cli: [
    "bench",
    "lab",
    "workers",
    "control",
    "devices",
    "filters",
    "config",
    "plan",
    "params",
    "batches",
    "sys",
  ],
};

/** Libraries that one folder alone imports. */
const OWNERS: Record<string, RegExp> = {
  koffi: /^sys\//,
  piscina: /^workers\/pool\.ts$/,
  yaml: /^config\//,
  commander: /^cli\//,
  assemblyscript: /^filters\//,
};

const files = readdirSync(SOURCES, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .sort();

/** Module names in a file's imports, re-exports and import() calls and types. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(SOURCES, file), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]);
}

describe("imports go one way: cli -> bench -> lab -> workers -> io, devices, filters -> batches, sys", () => {
  test.each(files)("%s", (file) => {
    const folder = file.split("/")[0];
    for (const name of importsOf(file).filter((target) => target.startsWith("."))) {
      const target = relative(SOURCES, join(SOURCES, file, "..", name));
      const targetFolder = target.split("/")[0];
      if (targetFolder === folder) continue;
      expect(MAY_IMPORT[folder], `${file} imports ${target}`).toContain(targetFolder);
      if (folder === "config" && targetFolder === "devices") expect(target).toMatch(/manifest\.ts$/);
    }
  });
});

test("what is started by its file's name is an entry of the bundle", () => {
  const config = readFileSync(join(SOURCES, "../rolldown.config.mjs"), "utf8");
  const threads = files.filter((file) =>
    /^import .*\b(?:parentPort|workerData)\b.* from "node:worker_threads"/m.test(
      readFileSync(join(SOURCES, file), "utf8"),
    ),
  );
  expect(threads.length).toBeGreaterThan(3);
  for (const file of [...threads, "workers/worker.ts", "lab/exec.ts", "cli/main.ts", "library/index.ts"]) {
    const name = file.slice(file.lastIndexOf("/") + 1, -3);
    expect(config, file).toMatch(new RegExp(`^  "?[a-z-]+"?: "${file.slice(0, -3)}",$`, "m"));
    if (threads.includes(file)) expect(config, file).toMatch(new RegExp(`^  "?${name}"?: `, "m"));
  }
});

describe("a library has one owner", () => {
  test.each(Object.entries(OWNERS))("%s", (library, owner) => {
    const importers = files.filter((file) =>
      importsOf(file).some((name) => name === library || name.startsWith(`${library}/`)),
    );
    expect(importers.length).toBeGreaterThan(0);
    expect(importers.filter((file) => !owner.test(file))).toEqual([]);
  });
});
