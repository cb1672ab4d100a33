// The SDK's reference, made of the sources' comments: a page a module, an example on each, and examples that compile.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { loadManifest } from "../../src/config/manifest.ts";
import {
  documentModule,
  type Entry,
  readModule,
  sdkModules,
  undocumented,
} from "../../src/filters/document-sdk.ts";
import { loadFilter } from "../../src/filters/library.ts";
import { ROOT, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
// Numbers alone have no examples.
const modules = sdkModules().filter((name) => readModule(name).entries.some(({ kind }) => kind !== "value"));

describe.each(modules)("%s", (name) => {
  test("has a page with an example", () => {
    expect(undocumented(readModule(name))).toEqual([]);
    const page = documentModule(name);
    expect(page).toContain("Example");
    expect(page, "members in one list").not.toMatch(/\n- .*\n\n- /);
    expect(page).toMatch(/\n### `(function|class|let|const|type) /);
    expect(readFileSync(join(ROOT, "build/docs/sdk", `${name.split("/")[1]}.md`), "utf8")).toBe(page);
  });
});

/** Everything that examples use of "./params". */
const MANIFEST = `summary: Examples.
params: { blocked: { type: list, of: prefix, default: [], doc: Any. } }
counters: { sampled: Any. }
logs: { slow: "no answer from {a:ipv4} for {b:duration}" }
tables: { hosts: { doc: Who sent, show: 10, keys: { from: { type: ipv4, doc: Who. } }, values: { packets: How many. } } }
state: { worker: 4KiB, shared: computed }
holds: 1
`;
const exported = modules.map((name) => readFileSync(join(ROOT, "assembly", `${name}.ts`), "utf8")).join("\n");

async function compiles(name: string, code: string, inPacket: string): Promise<void> {
  const path = join(folder.path, name);
  mkdirSync(path);
  const hasEntry = /export function (packet|batch)\(/.test(code);
  const packet = `export function packet(p: Packet): Output {\n${inPacket}  return OUTPUT_NEXT;\n}\n`;
  const text = code + (hasEntry ? "" : packet);
  const names = new Set([...text.matchAll(/\b[A-Za-z]\w+\b/g)].map(([word]) => word));
  const imported = [...names].filter((word) =>
    new RegExp(`^export (function|class|const|let|type) ${word}\\b`, "m").test(exported + layout),
  );
  const generated = ["Counters", "HostsRow", "Logs", "Tables", "params"].filter((word) => names.has(word));
  const imports = [
    `import { ${imported.join(", ")} } from "pktflow/assembly";`,
    generated.length > 0 ? `import { ${generated.join(", ")} } from "./params";` : "",
  ];
  writeFileSync(join(path, "filter.yaml"), MANIFEST);
  writeFileSync(join(path, "index.ts"), `${imports.join("\n")}\n${text}`);
  process.env["XDG_CACHE_HOME"] = folder.path;
  await expect(loadFilter(loadManifest(path)), text).resolves.toHaveProperty("module");
}
const layout = readFileSync(join(ROOT, "assembly/abi/layout.ts"), "utf8");

/** The code of a module's examples: of its head's, and of its functions'. */
function examplesOf(name: string): string[] {
  const page = [...documentModule(name).matchAll(/Example[^\n]*\n+```\n([\s\S]*?)```/g)].map(
    ([, code]) => code,
  );
  const members = readModule(name).entries.flatMap(({ members }) => members.map(({ example }) => example));
  return [...page, ...members.filter((example) => example !== "")].map((code) => `${code.trimEnd()}\n`);
}
const isWhole = (example: string) => /^\s*(export function|@unmanaged)/m.test(example);

test("the examples of statements compile, as a filter's packet()", async () => {
  const statements = modules.flatMap(examplesOf).filter((example) => !isWhole(example));
  expect(statements.length).toBeGreaterThan(50);
  await compiles("statements", "", statements.map((code) => `  {\n${code}  }\n`).join(""));
});

test.each(modules.filter((name) => examplesOf(name).some(isWhole)))(
  "the examples of %s that define functions compile, as a filter",
  async (name) => {
    const [definitions, statements = ""] = examplesOf(name)
      .filter(isWhole)
      .join("")
      .split(/^ *\.\.\.\n/m);
    await compiles(name.replace("/", "-"), definitions, statements);
  },
);

describe("a comment that does not say enough is found", () => {
  const method = (doc: string): Entry => ({
    ...{ kind: "method", name: "take", signature: "take(count: u32): u32", doc, example: "", members: [] },
  });
  const example = "  take(1);";
  const said = (doc: string, head = ["Example: one.", "", example]) =>
    undocumented({ name: "lib/any", head, entries: [{ ...method(doc), kind: "function" }] });
  test("all of it is said", () => {
    expect(said("Takes. Never fails.\n@param count packets")).toEqual([]);
  });
  test.each([
    ["", /has no comment/],
    ["Takes. Never fails.", /nothing is said of count/],
    ["Takes.\n@param count packets", /nothing is said of errors/],
  ])("%s", (doc, wrong) => {
    expect(said(doc).join()).toMatch(wrong);
  });
  test("it is in no example", () => {
    const wrong = said("Takes. Never fails.\n@param count packets", ["Example: none."]);
    expect(wrong.join()).toMatch(/no example has it/);
  });
});
