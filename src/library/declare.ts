/**
 * Part of `npm run build`: writes build/library/kinds.d.ts, the types of all kinds' parameters, from their manifests.
 * So an editor completes what the pipeline file's checker knows.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { deviceManifests } from "../config/kinds.ts";
import { builtinManifests } from "../filters/catalog.ts";
import { isRequired } from "../params/parse.ts";
import { type Bounds, isShare } from "../params/quantities.ts";
import type { ParamSpec, ParamType } from "../params/types.ts";

const SCALARS: Record<Exclude<ParamType["kind"], "enum" | "code" | "list" | "record">, string> = {
  bool: "boolean",
  u8: "number",
  u16: "number",
  u32: "number",
  u64: "number",
  i32: "number",
  f64: "number",
  duration: "Duration",
  size: "Size",
  rate: "Rate",
  port: "number | string",
  "port-range": "PortRange",
  ipv4: "string",
  ipv6: "string",
  ip: "string",
  prefix: "string",
  "interface-address": "string",
  mac: "string",
  string: "string",
  domains: "string",
  output: "string",
  action: "string",
  sets: "{ readonly [name: string]: string | readonly string[] | { readonly file: string } }",
};

const HEAD = `/** Made by \`npm run build\` from the manifests of the devices and the built-in filters. */

declare global {
  // Programs that are compiled without the DOM's types have none of WebAssembly, to which this package's own refer.
  namespace WebAssembly {
    interface Memory {}
  }
}

/** "500us", "10s", "2h4m"; 0. */
export type Duration = string | 0;
/** Bytes, or with a unit: "64KiB", "1MB". */
export type Size = number | string;
/** Bits or packets a second: "10Mbit", "100kpps". */
export type Rate = string;
/** A port, or a range: 80, "8000-8999". */
export type PortRange = number | string;
/** "5%", where a number is a part of 1 or of 100. */
export type Percentage = \`\${number}%\`;
`;

/** @returns the text of kinds.d.ts */
export function declareKinds(): string {
  const devices = deviceManifests.map(({ kind, summary, params }) => declare(kind, summary, params));
  const filters = builtinManifests().map(({ kind, summary, params }) => declare(kind, summary, params));
  return [
    HEAD,
    "/** By kind: what a device's entry may have beside `kind`. */",
    `export interface DeviceKinds {\n${devices.join("\n")}\n}`,
    "/** By kind: what a filter's entry may have beside `kind`, `on-trap` and `isolation`. */",
    `export interface FilterKinds {\n${filters.join("\n")}\n}`,
    "",
  ].join("\n");
}

function declare(kind: string, summary: string, params: ParamSpec[]): string {
  return `  /** ${comment(summary)} */\n  ${key(kind)}: ${fields(params, "  ")};`;
}

function fields(specs: ParamSpec[], indent: string): string {
  const inner = `${indent}  `;
  const lines = specs.flatMap((spec) => {
    const { name, type, doc, min } = spec;
    // A name that is the id unless it is given (tun, tap) is no requirement either.
    const optional = !isRequired(spec) || name === "name";
    return [
      `${inner}/** ${comment(doc)}${defaultNote(spec)} */`,
      `${inner}${key(name)}${optional ? "?" : ""}: ${shareText(spec) ?? typeText(type, min ?? 0, inner)};`,
    ];
  });
  return lines.length === 0 ? "{}" : `{\n${lines.join("\n")}\n${indent}}`;
}

/** A part of a whole may be written as a percentage. */
function shareText(spec: ParamSpec): string | undefined {
  return spec.type.kind === "f64" && isShare(spec as Bounds) ? "number | Percentage" : undefined;
}

function typeText(type: ParamType, min: number, indent: string): string {
  switch (type.kind) {
    case "enum":
      return type.values.map((value) => JSON.stringify(value)).join(" | ");
    case "code":
      return ["number", ...Object.keys(type.codes).map((value) => JSON.stringify(value))].join(" | ");
    case "record":
      return fields(type.fields, indent);
    case "list": {
      const one = typeText(type.of, 0, indent);
      const many = `readonly ${/[|]/.test(one) && !one.startsWith("{") ? `(${one})` : one}[]`;
      return min > 1 ? many : `${one} | ${many}`;
    }
    default:
      return SCALARS[type.kind];
  }
}

function defaultNote({ default: standard }: ParamSpec): string {
  return standard === undefined || standard === null ? "" : ` Default: ${comment(JSON.stringify(standard))}.`;
}

function comment(text: string): string {
  return text.replaceAll("*/", "*\\/").replaceAll("\n", " ").trim();
}

function key(name: string): string {
  return /^[a-z]+$/.test(name) ? name : JSON.stringify(name);
}

if (pathToFileURL(process.argv[1] ?? "").href === import.meta.url) {
  writeFileSync(fileURLToPath(new URL("../../build/library/kinds.d.ts", import.meta.url)), declareKinds());
}
