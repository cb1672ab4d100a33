// The reference pages say everything that the manifests say.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { listFilters } from "../../src/config/filters.ts";
import { loadManifest } from "../../src/config/manifest.ts";
import type { Manifest } from "../../src/config/types.ts";
import { BUILTIN, PACKAGE } from "../../src/filters/build.ts";
import { referencePage } from "../../src/filters/page.ts";
import type { ParamSpec } from "../../src/params/types.ts";
import { pktflow } from "../support/pktflow.ts";

/** Names with the prefixes that fields of records have, each with its doc. */
function parameters(specs: ParamSpec[], prefix = ""): [string, string][] {
  return specs.flatMap(({ name, type, doc }): [string, string][] => {
    const element = type.kind === "list" ? type.of : type;
    const fields =
      element.kind === "record"
        ? parameters(element.fields, `${prefix}${name}${type.kind === "list" ? "[]" : ""}.`)
        : [];
    return [[prefix + name, doc], ...fields];
  });
}

function documented({ params, outputs, counters }: Manifest): [string, string][] {
  return [
    ...parameters(params),
    ["next", "Go on along the path."],
    ["drop", "Counted and gone."],
    ...outputs.map(({ name, doc }): [string, string] => [name, doc]),
    ...counters.map(({ name, doc, each }): [string, string] => [
      each === undefined ? name : `${name}.*`,
      doc,
    ]),
  ];
}

/** Rows of tables that begin with the name: a parameter and a counter may have the same. */
function rowsOf(page: string, name: string): string[] {
  return page.split("\n").filter((line) => line.startsWith(`| \`${name}\` |`));
}

describe.each(listFilters(BUILTIN))("%s", (kind) => {
  const manifest = loadManifest(join(BUILTIN, kind), kind);
  const page = referencePage(manifest);

  test("every parameter, output and counter has a row with its doc", () => {
    for (const [name, doc] of documented(manifest)) {
      const words = (text: string) => text.replace(/[\s|\\<>]|&lt;/g, "");
      const isSaid = rowsOf(page, name).some((row) => words(row).includes(words(doc)));
      expect(isSaid, `${name}: ${doc}`).toBe(true);
    }
    expect(page).toContain(manifest.summary.split("|")[0]);
  });

  test("rows of a table have as many cells as its head", () => {
    const cells = (line: string) => line.replaceAll("\\|", "").split("|").length;
    const lines = page.split("\n");
    lines.forEach((line, i) => {
      if (line.startsWith("| ") && lines[i - 1]?.startsWith("| "))
        expect(cells(line), line).toBe(cells(lines[i - 1]));
    });
  });

  test("the build leaves it in build/docs, and `filter show --markdown` prints it", async () => {
    const built = join(PACKAGE, "build", "docs", "filters", `${kind}.md`);
    expect(existsSync(built)).toBe(true);
    expect(readFileSync(built, "utf8")).toBe(page);
    const { status, stdout } = await pktflow(["filter", "show", kind, "--markdown"]);
    expect(status).toBe(0);
    expect(stdout).toBe(page);
  });
});
