/**
 * Part of `npm run build`: the reference of the filter writer's SDK, a page in build/docs/sdk for each module of
 * assembly/index.ts, made of what stands above its exports. What is exported and has nothing above it is an error.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { PACKAGE } from "./build.ts";

const SDK = join(PACKAGE, "assembly");

interface Entry {
  signature: string;
  doc: string;
  members: Entry[];
}

/** Names of the SDK's modules, as index.ts re-exports them: "lib/checksum". */
export function sdkModules(): string[] {
  const index = readFileSync(join(SDK, "index.ts"), "utf8");
  return [...index.matchAll(/^export \* from "\.\/(.*)";$/gm)].map((match) => match[1]);
}

/** @returns the page of a module in Markdown @throws Error for an export of a class or function without a comment */
export function documentModule(name: string): string {
  const lines = readFileSync(join(SDK, `${name}.ts`), "utf8").split("\n");
  const head: string[] = [];
  while (lines[head.length]?.startsWith("//")) head.push(lines[head.length].replace(/^\/\/ ?/, ""));
  const entries = readEntries(lines, name);
  const parts = [
    `# ${basename(name)}`,
    `\`import { … } from "pktflow/assembly"\`, or from \`"pktflow/assembly/${name}"\`.`,
    headOf(head),
  ];
  for (const { signature, doc, members } of entries) {
    parts.push(`### \`${signature}\``, doc);
    for (const member of members)
      parts.push(
        `- \`${member.signature}\`: ${member.doc.replaceAll(/\n\n/g, "; ").replaceAll("\n", " ") || "as it says"}`,
      );
  }
  return `${parts
    .filter((part) => part !== "")
    .join("\n\n")
    .replaceAll(/(\n- .*)\n\n(?=- )/g, "$1\n")}\n`;
}

/** The file's head: drawings and examples are indented in it, and stay so. */
function headOf(lines: string[]): string {
  const out: string[] = [];
  let inBlock = false;
  for (const line of lines) {
    const isBlock: boolean = /^ {2,}\S/.test(line) || (inBlock && line === "");
    if (isBlock !== inBlock) out.push(...(isBlock ? ["", "```"] : ["```", ""]));
    inBlock = isBlock;
    out.push(line);
  }
  if (inBlock) out.push("```");
  return out.join("\n").trim();
}

function readEntries(lines: string[], name: string): Entry[] {
  const entries: Entry[] = [];
  let doc = "";
  let inClass: Entry | undefined;
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i];
    if (/^\s*\/\*\*/.test(line)) {
      const comment: string[] = [];
      for (; ; i++) {
        comment.push(lines[i].replace(/^\s*\/?\*+\/? ?/, "").replace(/\s*\*\/$/, ""));
        if (lines[i].includes("*/")) break;
      }
      doc = comment.join("\n").trim();
      continue;
    }
    if (inClass !== undefined && line === "}") inClass = undefined;
    const isMember =
      inClass !== undefined &&
      /^ {2}(?!private|constructor|return|\/)(@inline )?(static |get |set )?[a-zA-Z]\w*\(.*\{$/.test(line);
    const isExport = /^export (function|class|const|let|type)/.test(line);
    if (isExport || isMember) {
      const entry: Entry = { signature: signatureOf(line), doc: paramsOf(doc), members: [] };
      if (isMember) inClass!.members.push(entry);
      else if (!/^export (const|type)/.test(line) || doc !== "") entries.push(entry);
      if (/^export (function|class)/.test(line) && doc === "" && !hasNoNeed(line)) {
        throw new Error(
          `assembly/${name}.ts:${i + 1}: ${entry.signature} has no comment that says what it is`,
        );
      }
      if (/^export class/.test(line)) inClass = entry;
    }
    if (line.trim() !== "" && !/^\s*@/.test(line)) doc = "";
  }
  return entries;
}

/** A class is explained by its file's head, and a function whose name is its doc needs no other. */
function hasNoNeed(line: string): boolean {
  return /^export class|^export function (be|setBe)\d+|^export function (workers|workerStateBytes|sharedStateBytes)\(/.test(
    line,
  );
}

function signatureOf(line: string): string {
  return line
    .trim()
    .replace(/^export /, "")
    .replace(/@inline /, "")
    .replace(/ \{.*$/, "")
    .replace(/^((?:const|let|type) [^=]*?) =.*$/, "$1")
    .replace(/;$/, "");
}

/** `@param x what` as a list. */
function paramsOf(doc: string): string {
  return doc.replaceAll(/;? ?@(param|returns) /g, (_, tag: string) => `\n\n*${tag}* `).trim();
}

if (pathToFileURL(process.argv[1] ?? "").href === import.meta.url) {
  const folder = join(PACKAGE, "build", "docs", "sdk");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const modules = sdkModules();
  for (const name of modules) writeFileSync(join(folder, `${basename(name)}.md`), documentModule(name));
  const list = modules.map((name) => `- [${basename(name)}](${basename(name)}.md)`).join("\n");
  writeFileSync(join(folder, "README.md"), `# The SDK, module by module\n\n${list}\n`);
}
