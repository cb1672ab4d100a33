/**
 * Part of `npm run build`: the reference of the filter writer's SDK, a page in build/docs/sdk for each module of
 * assembly/index.ts, made of what stands above its exports. What is exported and has nothing above it is an error.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { PACKAGE } from "./build.ts";

const SDK = join(PACKAGE, "assembly");

export interface Entry {
  kind: "function" | "class" | "value" | "method" | "property";
  name: string;
  signature: string;
  doc: string;
  /** Code, where the comment has some of its own. */
  example: string;
  members: Entry[];
}

/** Names of the SDK's modules, as index.ts re-exports them: "lib/checksum". */
export function sdkModules(): string[] {
  const index = readFileSync(join(SDK, "index.ts"), "utf8");
  return [...index.matchAll(/^export \* from "\.\/(.*)";$/gm)].map((match) => match[1]);
}

/** A module of the SDK: what stands at its head, and what it exports. */
export interface SdkModule {
  name: string;
  head: string[];
  entries: Entry[];
}

/** @param name as sdkModules() has it */
export function readModule(name: string): SdkModule {
  const lines = readFileSync(join(SDK, `${name}.ts`), "utf8").split("\n");
  const head: string[] = [];
  while (lines[head.length]?.startsWith("//")) head.push(lines[head.length].replace(/^\/\/ ?/, ""));
  return { name, head, entries: readEntries(lines) };
}

/** @returns the page of a module in Markdown */
export function documentModule(name: string): string {
  const module = readModule(name);
  const parts = [
    `# ${basename(name)}`,
    `\`import { … } from "pktflow/assembly"\`, or from \`"pktflow/assembly/${name}"\`.`,
    headOf(module.head),
  ];
  for (const { kind, signature, doc, example, members } of module.entries) {
    if ((kind === "value" && doc === "") || isInternal(doc)) continue;
    parts.push(`### \`${signature}\``, paramsOf(doc, "\n\n"));
    if (example !== "") parts.push(`Example:\n\n\`\`\`\n${example}\n\`\`\``);
    for (const member of members) {
      const use =
        member.example === "" ? "" : `; example: \`${member.example.replaceAll(/\s*\n\s*/g, " ")}\``;
      parts.push(`- \`${member.signature}\`: ${paramsOf(member.doc, "; ")}${use}`);
    }
  }
  return `${parts
    .filter((part) => part !== "")
    .join("\n\n")
    .replaceAll(/(?<=\n- .*)\n\n(?=- )/g, "\n")}\n`;
}

/** For the SDK's own other half, not for filters. */
function isInternal(doc: string): boolean {
  return doc.includes("@internal");
}

/** How a comment says what becomes of a call that cannot succeed: what must hold before it, or what comes back. */
const ERRORS = /\b(Needs|Never fails|not checked|traps)\b|@returns .*\b(false|0|NO_PREFIX|empty)\b/;

/**
 * What is missing from the comments of a module: each function, class and member says what it is; functions and methods name
 * every parameter (its unit is said there), say what becomes of errors, and are used in an example of the module.
 */
export function undocumented({ head, entries }: SdkModule): string[] {
  // Numbers alone: constants of a layout or a header.
  if (entries.every(({ kind }) => kind === "value")) return [];
  const all = entries.flatMap((entry) => [entry, ...entry.members]);
  const examples = [headOf(head), ...all.map(({ example }) => example)].join("\n");
  const wrong = entries.flatMap((entry) =>
    [entry, ...entry.members].flatMap((one) => missing(one, examples)),
  );
  return examples.includes("Example") ? wrong : [...wrong, "there is no example at its head"];
}

function missing({ kind, name, signature, doc }: Entry, examples: string): string[] {
  if (isInternal(doc)) return [];
  // A class may be explained at the head of its file; a constant by its name.
  if (kind === "value" || (kind === "class" && doc === "")) return [];
  if (doc === "") return [`${signature} has no comment that says what it is`];
  if (kind !== "function" && kind !== "method") return [];
  const parameters = /\((.*)\)/.exec(signature)?.[1] ?? "";
  const names = parameters.split(",").flatMap((one) => /^\s*(\w+):/.exec(one)?.[1] ?? []);
  const unnamed = names.filter((one) => !new RegExp(`@param ${one}\\b`).test(doc));
  return [
    ...unnamed.map((one) => `${signature}: nothing is said of ${one} (@param)`),
    ...(ERRORS.test(doc.replaceAll("\n", " ")) ? [] : [`${signature}: nothing is said of errors`]),
    ...(new RegExp(`\\b${name}(<\\w+>)?\\(`).test(examples) ? [] : [`${signature}: no example has it`]),
  ];
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

const EXPORT = /^export (abstract )?(function|class|const|let|type) (\w+)/;
const METHOD =
  /^ {2}(?!private|constructor|return|\/)(?:@inline )?(?:static )?(get |set )?([a-zA-Z]\w*)(?:<\w+>)?\(.*\{$/;
const FIELD = /^ {2}(?:static readonly )?([a-zA-Z]\w*): \w+(?: = .*)?;$/;

function readEntries(lines: string[]): Entry[] {
  const entries: Entry[] = [];
  let comment: string[] = [];
  let inClass: Entry | undefined;
  for (let i = 0; i < lines.length; i++) {
    if (/^\s*\/\*\*/.test(lines[i])) {
      comment = [];
      for (; ; i++) {
        comment.push(lines[i].replace(/^\s*\/?\*+\/? ?/, "").replace(/\s*\*\/$/, ""));
        if (lines[i].includes("*/")) break;
      }
      continue;
    }
    if (inClass !== undefined && lines[i] === "}") inClass = undefined;
    const line = wholeSignature(lines, i);
    const exported = EXPORT.exec(line);
    const method = inClass === undefined ? null : METHOD.exec(line);
    const field = inClass === undefined ? null : FIELD.exec(line);
    const documented = { signature: signatureOf(line), ...splitExample(comment), members: [] };
    if (exported) {
      const kind = exported[2] === "function" || exported[2] === "class" ? exported[2] : "value";
      entries.push({ kind, name: exported[3], ...documented });
      if (kind === "class") inClass = entries[entries.length - 1];
    } else if (method) {
      const isPair = method[1] === "set " && inClass!.members.some(({ name }) => name === method[2]);
      const kind = method[1] === undefined ? "method" : "property";
      // A setter beside a getter is that field, which can be set too.
      if (isPair) inClass!.members.find(({ name }) => name === method[2])!.signature += ", and set";
      else inClass!.members.push({ kind, name: method[2], ...documented });
    } else if (field) {
      inClass!.members.push({ kind: "property", name: field[1], ...documented });
    }
    if (lines[i].trim() !== "" && !/^\s*@/.test(lines[i].replace("@inline ", ""))) comment = [];
  }
  return entries;
}

/** A declaration that goes over several lines, in one. */
function wholeSignature(lines: string[], i: number): string {
  let line = lines[i];
  if (!/^( {2}(@inline )?(static )?\w+|export function \w+)\($/.test(line)) return line;
  while (!line.endsWith("{")) line += lines[++i].replace(/^\s+/, line.endsWith("(") ? "" : " ");
  return line.replace(",)", ")").replace(", )", ")");
}

/** What a comment says, and the code behind its `@example`. */
function splitExample(comment: string[]): { doc: string; example: string } {
  const at = comment.findIndex((line) => line.startsWith("@example"));
  if (at < 0) return { doc: comment.join("\n").trim(), example: "" };
  const code = comment.slice(at).map((line) => line.replace("@example", "").replace(/^ {2}/, ""));
  return { doc: comment.slice(0, at).join("\n").trim(), example: code.join("\n").trim() };
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

/** `@param x what` apart from the rest. */
function paramsOf(doc: string, separator: string): string {
  const marked = doc.replaceAll(/[;,]? ?@(param|returns) /g, (_, tag: string) => `\n\n*${tag}* `).trim();
  return separator === "\n\n" ? marked : marked.replaceAll("\n\n", separator).replaceAll("\n", " ");
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
