// The SDK's reference, made of the sources' comments: a page a module, an example on each, and examples that compile.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { buildFilter } from "../../src/filters/build.ts";
import { documentModule, sdkModules } from "../../src/filters/document-sdk.ts";
import { ROOT, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
// Numbers alone.
const modules = sdkModules().filter((name) => name !== "abi/layout");

describe.each(modules)("%s", (name) => {
  test("has a page with an example", () => {
    const page = documentModule(name);
    expect(page).toContain("Example");
    expect(page).toMatch(/\n### `(function|class|let|const|type) /);
    expect(readFileSync(join(ROOT, "build/docs/sdk", `${name.split("/")[1]}.md`), "utf8")).toBe(page);
  });
});

test("the examples of statements compile, as a filter's packet()", async () => {
  const statements = modules.flatMap((name) => {
    const examples = [...documentModule(name).matchAll(/Example:[^\n]*\n+```\n([\s\S]*?)```/g)].map(
      (match) => match[1],
    );
    // Those that define functions are a filter's other parts.
    return examples.filter((example) => !example.includes("export function"));
  });
  expect(statements.length).toBeGreaterThan(8);
  const path = join(folder.path, "examples");
  mkdirSync(path);
  const names = new Set(statements.join("\n").match(/\b[A-Za-z]\w+\b/g));
  const index = modules.map((name) => readFileSync(join(ROOT, "assembly", `${name}.ts`), "utf8")).join("\n");
  const imported = [...names].filter((name) =>
    new RegExp(`^export (function|class|const|let) ${name}\\b`, "m").test(index),
  );
  const text = `import { ${[...new Set([...imported, "OUTPUT_NEXT", "OUTPUT_DROP", "Output", "Packet"])].join(", ")} } from "pktflow/assembly";
class Counters { static readonly sampled: u32 = 0; }
class Logs { static readonly slow: u32 = 0; }
export function packet(p: Packet): Output {
${statements.map((statement) => `  {\n${statement}  }`).join("\n")}
  return OUTPUT_NEXT;
}
`;
  writeFileSync(join(path, "index.ts"), text.replaceAll(/^ +\/\/.*\n/gm, ""));
  process.env["XDG_CACHE_HOME"] = folder.path;
  await expect(buildFilter(path, "")).resolves.toMatchObject({ cached: false });
});
