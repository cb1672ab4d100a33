// From a filter's folder to a module: what is cached, and what the errors of a writer look like.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { loadManifest } from "../../src/config/manifest.ts";
import { buildFilter, wasmPath } from "../../src/filters/build.ts";
import { FilterError } from "../../src/filters/error.ts";
import { loadFilter } from "../../src/filters/library.ts";
import { loadModule, SCRATCH_PARAMS, stateSizes } from "../../src/filters/load.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "pf-filters-"));
  vi.stubEnv("XDG_CACHE_HOME", join(home, "cache"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true });
});

const PASS = `import { OUTPUT_NEXT, Output, Packet } from "pktflow/assembly";
export function packet(p: Packet): Output { return OUTPUT_NEXT; }
`;

function folderWith(files: Record<string, string>): string {
  const folder = join(home, "mine");
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

async function failure(index: string): Promise<FilterError> {
  const error = await buildFilter(folderWith({ "index.ts": index }), "").catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(FilterError);
  return error as FilterError;
}

describe("a filter of the user's", () => {
  test("is built into the cache; nothing appears beside its sources", async () => {
    const folder = folderWith({ "index.ts": PASS });
    const { wasm, cached } = await buildFilter(folder, "");
    expect(cached).toBe(false);
    expect(wasm.startsWith(join(home, "cache", "pktflow", "filters", "mine-"))).toBe(true);
    expect(readdirSync(folder)).toEqual(["index.ts"]);
    expect(WebAssembly.Module.exports(loadModule(wasm).module).map(({ name }) => name)).toEqual(
      expect.arrayContaining(["abi", "init", "process"]),
    );
  });

  test("is not built again until its sources, or its parameters, change", async () => {
    const folder = folderWith({ "index.ts": PASS });
    const { wasm } = await buildFilter(folder, "");
    const made = statSync(wasm).mtimeMs;
    expect(await buildFilter(folder, "")).toEqual({ wasm, cached: true });
    expect(statSync(wasm).mtimeMs).toBe(made);
    expect((await buildFilter(folder, "export const other: u32 = 1;")).cached).toBe(false);
    folderWith({ "index.ts": PASS, "more.ts": "export const more: u32 = 2;" });
    expect((await buildFilter(folder, "export const other: u32 = 1;")).cached).toBe(false);
  });

  test("is built again when its module was cut short", async () => {
    const folder = folderWith({ "index.ts": PASS });
    const { wasm } = await buildFilter(folder, "");
    writeFileSync(wasm, readFileSync(wasm).subarray(0, 40));
    expect((await buildFilter(folder, "")).cached).toBe(false);
    expect(() => loadModule(wasm)).not.toThrow();
  });

  test("reads its parameters through ./params, generated from its manifest and kept to be read", async () => {
    const index = `import { OUTPUT_NEXT, Output, Packet } from "pktflow/assembly";
import { params, Outputs } from "./params";
export function packet(p: Packet): Output { return p.length > params.longest ? Outputs.long : OUTPUT_NEXT; }`;
    const manifest = `summary: Long packets go elsewhere.
params: { longest: { type: u32, default: 100, doc: Bytes. } }
outputs: { long: Longer ones. }
`;
    const folder = folderWith({ "index.ts": index, "filter.yaml": manifest });
    await loadFilter(loadManifest(folder));
    expect(readFileSync(wasmPath(folder).replace(".wasm", ".params.ts"), "utf8")).toContain(
      "get longest(): u32",
    );
  });

  test("computes its state's size from its parameters", async () => {
    const index = `${PASS}import { params } from "./params";
export function workerStateSize(p: usize): usize { return <usize>params.entries * 16; }
export function sharedStateSize(p: usize): usize { return <usize>load<u32>(p) + 1; }`;
    const manifest = `summary: Keeps entries.
params: { entries: { type: u32, default: 100, doc: How many. } }
state: { worker: computed, shared: computed }
`;
    const folder = folderWith({ "index.ts": index, "filter.yaml": manifest });
    const loaded = loadManifest(folder);
    const { module } = await loadFilter(loaded);
    const encoded = Uint8Array.from([0, 0, 0x10, 0, 0, 0, 0, 0]);
    expect(stateSizes(module, loaded, encoded)).toEqual({ worker: 0x1000000, shared: 0x100001, prepared: 0 });
    expect(SCRATCH_PARAMS % 8).toBe(0);
  });

  test("that says its state is computed, and does not compute it, is told so", async () => {
    const folder = folderWith({
      "index.ts": PASS,
      "filter.yaml": "summary: Promises.\nstate: { worker: computed }\n",
    });
    const manifest = loadManifest(folder);
    const { module } = await loadFilter(manifest);
    expect(() => stateSizes(module, manifest, new Uint8Array())).toThrow(/exports no workerStateSize/);
  });
});

describe("errors", () => {
  test("of the compiler have file, line and column", async () => {
    const error = await failure(`${PASS}export function init(): void {\n  missing(1);\n}\n`);
    const file = join(home, "mine", "index.ts");
    expect(error.diagnostics).toMatchObject([
      { file, line: 4, column: 3, length: 7, code: "TS2304", message: "Cannot find name 'missing'." },
    ]);
    expect(error.message).toBe(
      `${file}:4:3 error TS2304: Cannot find name 'missing'.\n` +
        "   4 |   missing(1);\n" +
        "     |   ^^^^^^^",
    );
  });
  test("in the syntax have them too", async () => {
    const [first] = (await failure(`${PASS}export function (): void {`)).diagnostics;
    expect(first).toMatchObject({ line: 3, column: 16 });
  });
  test("a packet() of another type is found where it is called", async () => {
    const error = await failure("export function packet(p: f64): u8 { return 0; }");
    expect(error.diagnostics[0].message).toContain("Packet");
  });
  test("neither packet nor batch, or both", async () => {
    expect((await failure("export function other(): void {}")).message).toContain("exports neither packet");
    const both = `${PASS}export function batch(b: usize): void {}`;
    expect((await failure(both)).message).toContain("exports both packet");
  });
  test("in a comment or a string is no export", async () => {
    expect((await failure("// export function packet(p: Packet): Output {}")).message).toContain("neither");
  });
  test("no index.ts", async () => {
    const folder = folderWith({ "other.ts": "" });
    await expect(buildFilter(folder, "")).rejects.toThrow(/index\.ts: ENOENT/);
  });
  test("a cache that cannot be written", async () => {
    const folder = folderWith({ "index.ts": PASS });
    vi.stubEnv("XDG_CACHE_HOME", join(folder, "index.ts"));
    await expect(buildFilter(folder, "")).rejects.toThrow(/writing .*: (ENOTDIR|EEXIST): set XDG_CACHE_HOME/);
  });
  test("imports from outside of the folder are not found", async () => {
    writeFileSync(join(home, "shared.ts"), "export const one: u32 = 1;");
    const error = await failure(`${PASS}import { one } from "../shared";\nexport const two: u32 = one + 1;`);
    expect(error.diagnostics[0].message).toContain("shared");
  });
});
