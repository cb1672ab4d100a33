// pipelines/TUTORIAL.md, as a new user goes through it: an empty folder, the packed tarball, every command, every file.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { LACKS } from "../support/namespace.ts";
import { hasTool } from "../support/pcap.ts";
import { ROOT, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
const project = folder.file("project");
mkdirSync(project);
const env = { ...process.env, NO_COLOR: "1", XDG_CACHE_HOME: folder.file("cache") };

/** Fenced blocks in order: their language, what stands behind it, and the line in the file. */
const text = readFileSync(join(ROOT, "pipelines/TUTORIAL.md"), "utf8");
const blocks = [...text.matchAll(/^```(\w+)(?: (\S+))?\n([\s\S]*?)^```$/gm)].map((match) => ({
  language: match[1],
  file: match[2],
  content: match[3],
  line: text.slice(0, match.index).split("\n").length,
}));
const [{ filename }] = JSON.parse(
  execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder.path], {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  }),
) as { filename: string }[];

function shell(command: string) {
  return spawnSync("bash", ["-e", "-c", command], { cwd: project, encoding: "utf8", env, timeout: 55_000 });
}
const install = shell(
  `npm init -y >/dev/null; npm install --prefer-offline --no-audit --fetch-retries=0 ../${filename}`,
);
const hasPackage = install.status === 0;
const lacksTools = hasTool("curl", "openssl", "python3", "nsenter")
  ? undefined
  : "needs curl, openssl, python3, nsenter";

/** "…" stands for anything. */
function patternOf(line: string): RegExp {
  return new RegExp(
    line
      .split("…")
      .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      .join(".*"),
  );
}

/** Files that the tutorial has shorter than they are. */
const SHORTENED = ["filters/sni-block/cases.yaml"];

test("the files of the tutorial are those of pipelines/", () => {
  const files = blocks.filter(({ file }) => file !== undefined && !SHORTENED.includes(file));
  expect(files.length).toBeGreaterThan(9);
  for (const { file, content } of files) {
    expect(content, file).toBe(readFileSync(join(ROOT, "pipelines", file), "utf8"));
  }
});

// One after the other: what a command does depends on the files before it.
describe.skipIf(!hasPackage)("the tutorial (skipped where npm has neither cache nor registry)", () => {
  for (const [i, { language, file, content, line }] of blocks.entries()) {
    if (file !== undefined) {
      test(`line ${line}: ${file} is written`, () => {
        mkdirSync(dirname(join(project, file)), { recursive: true });
        writeFileSync(join(project, file), content);
      });
    }
    if (language !== "sh") continue;
    const command = content.replace("npm install pktflow", `npm install --prefer-offline ../${filename}`);
    const lacks = content.includes("pktflow lab") ? (LACKS ?? lacksTools) : undefined;
    const skipped = lacks === undefined ? "" : ` (skipped: ${lacks})`;
    test.skipIf(lacks !== undefined)(`line ${line}: ${content.split("\n")[0]}${skipped}`, () => {
      const { stdout, stderr, status } = shell(command);
      expect({ status, stderr: status === 0 ? "" : stderr }).toEqual({ status: 0, stderr: "" });
      const expected =
        blocks[i + 1]?.language === "output" ? blocks[i + 1].content.trimEnd().split("\n") : [];
      let rest = stdout + stderr;
      for (const wanted of expected) {
        const found = patternOf(wanted).exec(rest);
        expect(found, `${wanted}\n in \n${stdout}${stderr}`).not.toBeNull();
        rest = rest.slice(found!.index + found![0].length);
      }
    });
  }
});
