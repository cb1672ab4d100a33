/** Reads a filter's cases.yaml: packets in, and the outputs, bytes and counters that must come out; runner.ts runs it. */
import { dirname, join, resolve } from "node:path";
import { ConfigError, Diagnostics } from "../config/diagnostics.ts";
import { readDocument } from "../config/document.ts";
import { readFilters } from "../config/filters.ts";
import { readText } from "../config/manifest.ts";
import { Source, type Span } from "../config/source.ts";
import { entry, type MapNode, type Node, plain } from "../config/tree.ts";
import type { FilterConfig } from "../config/types.ts";
import { closest } from "../params/suggest.ts";
import { BUILTIN } from "./build.ts";
import { FilterError } from "./error.ts";
import { HELD_SLOTS } from "./holding.ts";
import { merged } from "./merged.ts";
import { buildPacket, fieldsOf } from "./notation.ts";

export interface Case {
  purpose: string;
  file: string;
  /** Line of the case in its file. */
  line: number;
  filter: FilterConfig;
  layer: 2 | 3;
  workers: number;
  /** Packets that a filter may have in hand beside the one that comes. */
  slots: number;
  devices: { mtu: number; layer: 2 | 3 }[];
  packets: Fields[];
  /** By packet: the filter's parameters are these from there on. */
  reloads: Map<number, FilterConfig>;
  /** Instead of the comparison of each packet: what must come out by "next", in order. */
  captured: { file: string; packets: Uint8Array[] } | undefined;
  counters: Record<string, number>;
  /** The rows that its tables must have at the end, all of them and in order; of those not named here nothing is said. */
  tables: Record<string, Fields[]>;
}
export type Fields = Record<string, unknown>;

/** The packets of a capture file. */
export interface CapturedPackets {
  /** Packets start with the Ethernet header (2) or the IP header (3). */
  layer: 2 | 3;
  packets: { bytes: Uint8Array /** ns since the first one. */; at: number }[];
}
/** Reads a whole capture file. Errors name the file. */
export type CaptureReader = (file: string) => CapturedPackets;

const CASE_KEYS = [
  ...["purpose", "params", "layer", "workers", "devices", "packets", "counters"],
  ...["pcap-in", "pcap-out", "slots", "tables"],
];
const PACKET_KEYS = [
  ...["in", "at", "device", "queue", "worker", "mark", "repeat", "gso"],
  ...["out", "bytes", "changed", "mark-out", "emits", "reload"],
];
const EMISSION_KEYS = ["packet", "out", "at", "bytes", "changed"];
/**
 * Reads a filter's cases.yaml.
 * @param folder absolute path of the filter's folder
 * @param readCapture reads what pcap-in and pcap-out name; without it, a case that names one is an error
 * @throws ConfigError when the file, or the parameters of a case, are not right
 */
export function readCases(folder: string, readCapture: CaptureReader = noCaptures): Case[] {
  const file = join(folder, "cases.yaml");
  const diagnostics = new Diagnostics();
  const root = readDocument(new Source(file, readText(file)), {}, diagnostics);
  if (root?.kind !== "list") {
    if (root) diagnostics.error(root.span, "wrong-type", "a cases.yaml is a list of cases");
    throw new ConfigError(diagnostics.sorted());
  }
  const cases = root.items.flatMap((node) => readCase(node, folder, readCapture, diagnostics) ?? []);
  if (!diagnostics.empty) throw new ConfigError(diagnostics.sorted());
  return cases;
}

function noCaptures(file: string): never {
  throw new FilterError(`${file}: captures cannot be read here`);
}

function readCase(
  node: Node,
  folder: string,
  readCapture: CaptureReader,
  diagnostics: Diagnostics,
): Case | undefined {
  if (node.kind !== "map") {
    diagnostics.error(node.span, "wrong-type", "a case is a map");
    return undefined;
  }
  const isKnown = checkKeys(node, diagnostics);
  const filter = readParams(node, folder, diagnostics);
  if (filter === undefined) return undefined;
  const reloads = readReloads(node, folder, filter, diagnostics);
  if (reloads === undefined) return undefined;
  const last = [...reloads.values()].at(-1) ?? filter;
  const counters = entry(node, "counters")?.value;
  const areCounted = !counters || unknownKeys(counters, "counters", last.counters, diagnostics);
  if (!isKnown || !areCounted) return undefined;
  try {
    const fields = fieldsOf(plain(node), "a case", CASE_KEYS);
    const input = readCaptureOf(node, "pcap-in", readCapture, diagnostics);
    const output = readCaptureOf(node, "pcap-out", readCapture, diagnostics);
    const layer = input ? input.capture.layer : fields["layer"] === 2 ? 2 : 3;
    const devices = (fields["devices"] ?? [{}, {}]) as Fields[];
    const packets = (fields["packets"] ?? []) as unknown[];
    if (typeof fields["purpose"] !== "string") throw new FilterError("a case wants a purpose");
    if (fields["pcap-in"] !== undefined && packets.length > 0) {
      throw new FilterError("a case has packets or pcap-in, not both");
    }
    if (fields["pcap-in"] === undefined && packets.length === 0) {
      throw new FilterError("a case without packets shows nothing");
    }
    return {
      purpose: fields["purpose"],
      file: node.span.source.file,
      line: lineOf(node.span),
      filter,
      layer,
      workers: Number(fields["workers"] ?? 1),
      slots: Number(fields["slots"] ?? HELD_SLOTS),
      devices: devices.map((device) => ({ mtu: 1500, layer, ...device })),
      packets:
        input?.capture.packets.map(({ bytes, at }) => ({ in: { raw: bytes }, at: `${Math.round(at)}ns` })) ??
        packets.map((packet) => packetOf(packet)),
      reloads,
      captured: output && {
        file: output.file,
        packets: output.capture.packets.map(({ bytes }) => bytes),
      },
      counters: fieldsOf(fields["counters"] ?? {}, "counters", last.counters) as Record<string, number>,
      tables: fieldsOf(
        fields["tables"] ?? {},
        "tables",
        (filter.manifest.tables ?? []).map(({ name }) => name),
      ) as Record<string, Fields[]>,
    };
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    diagnostics.error(node.span, "bad-case", error.message);
    return undefined;
  }
}

/** Every key of a case that there is not, where it stands, and every packet that cannot be built. @returns whether all is well */
function checkKeys(node: MapNode, diagnostics: Diagnostics): boolean {
  const known = unknownKeys(node, "a case", CASE_KEYS, diagnostics);
  const packets = itemsOf(node, "packets").map((packet) => {
    const isKnown = unknownKeys(packet, "a packet of a case", PACKET_KEYS, diagnostics);
    const emits = itemsOf(packet, "emits").map((one) =>
      unknownKeys(one, "an emission", EMISSION_KEYS, diagnostics),
    );
    return isKnown && !emits.includes(false) && canBeBuilt(packet, diagnostics);
  });
  return known && !packets.includes(false);
}

function unknownKeys(node: Node, what: string, known: string[], diagnostics: Diagnostics): boolean {
  if (node.kind !== "map") {
    diagnostics.error(node.span, "wrong-type", `${what} is a map`);
    return false;
  }
  const unknown = node.entries.filter(({ key }) => !known.includes(key));
  for (const { key, keySpan } of unknown) {
    const message = `${what} has no ${JSON.stringify(key)}; it has ${known.join(", ")}`;
    diagnostics.error(keySpan, "unknown-key", message, closest(key, known));
  }
  return unknown.length === 0;
}

function itemsOf(node: Node, key: string): Node[] {
  const list = node.kind === "map" ? entry(node, key)?.value : undefined;
  return list?.kind === "list" ? list.items : [];
}

/** What comes in, and what must come out. Variables have no values yet, which does not matter here. */
function canBeBuilt(packet: Node, diagnostics: Diagnostics): boolean {
  const valueAt = (key: string) => (packet.kind === "map" ? entry(packet, key)?.value : undefined);
  const [input, changed, bytes] = ["in", "changed", "bytes"].map(valueAt);
  const attempt = (node: Node | undefined, notation: () => unknown): boolean => {
    if (node === undefined) return true;
    try {
      buildPacket(notation());
      return true;
    } catch (error) {
      if (!(error instanceof FilterError)) throw error;
      diagnostics.error(placeOf(node, error.message), "bad-packet", error.message);
      return false;
    }
  };
  if (!attempt(input, () => plain(input!))) return false;
  const isWhole = input?.kind === "map" && changed?.kind === "map";
  return (
    attempt(isWhole ? changed : undefined, () =>
      merged(plain(input!) as Fields, plain(changed!) as Fields),
    ) && attempt(bytes?.kind === "map" ? bytes : undefined, () => plain(bytes!))
  );
}

/** The key that a message is about, in quotes or as its first word, if there is one such; otherwise all of the packet. */
function placeOf(node: Node, message: string): Span {
  const name = (/^(?:\w+\.)?([\w-]+) wants/.exec(message) ?? /"([\w-]+)"/.exec(message))?.[1];
  const found: Span[] = [];
  const look = (one: Node): void => {
    if (one.kind === "list") one.items.forEach(look);
    if (one.kind !== "map") return;
    for (const { key, keySpan, value } of one.entries) {
      if (key === name) found.push(keySpan);
      look(value);
    }
  };
  look(node);
  return found.length === 1 ? found[0] : node.span;
}

function packetOf(packet: unknown): Fields {
  const fields = fieldsOf(packet, "a packet of a case", PACKET_KEYS);
  for (const one of (fields["emits"] ?? []) as unknown[]) fieldsOf(one, "an emission", EMISSION_KEYS);
  return fields;
}

function readCaptureOf(
  node: MapNode,
  key: "pcap-in" | "pcap-out",
  readCapture: CaptureReader,
  diagnostics: Diagnostics,
): { file: string; capture: CapturedPackets } | undefined {
  const value = entry(node, key)?.value;
  if (value === undefined) return undefined;
  const written = plain(value);
  if (typeof written !== "string") {
    diagnostics.error(value.span, "wrong-type", `${key} wants the name of a capture, relative to this file`);
    return undefined;
  }
  const file = resolve(dirname(node.span.source.file), written);
  try {
    return { file, capture: readCapture(file) };
  } catch (error) {
    diagnostics.error(value.span, "bad-capture", (error as Error).message);
    return undefined;
  }
}

/** The case's parameters, read as those of a filter in a pipeline. */
function readParams(node: MapNode, folder: string, diagnostics: Diagnostics): FilterConfig | undefined {
  const params = entry(node, "params")?.value;
  const { span } = params ?? node;
  const kind = { key: "kind", keySpan: span, value: { kind: "scalar", value: folder, span } as Node };
  const given = params?.kind === "map" ? params.entries : [];
  const map: MapNode = { kind: "map", entries: [kind, ...given], span };
  const section: Node = { kind: "map", entries: [{ key: "filter", keySpan: span, value: map }], span };
  const places = { pipelineFile: join(folder, "cases.yaml"), filtersDirectory: BUILTIN };
  return readFilters(section, places, diagnostics).get("filter")?.config;
}

/** What `reload` of its packets makes of the case's parameters, each on top of the one before. */
function readReloads(
  node: MapNode,
  folder: string,
  filter: FilterConfig,
  diagnostics: Diagnostics,
): Map<number, FilterConfig> | undefined {
  const reloads = new Map<number, FilterConfig>();
  const first = entry(node, "params")?.value;
  let params = first?.kind === "map" ? first.entries : [];
  let before = filter;
  let isRight = true;
  for (const [i, packet] of itemsOf(node, "packets").entries()) {
    const found = packet.kind === "map" ? entry(packet, "reload") : undefined;
    if (found === undefined) continue;
    if (found.value.kind !== "map") {
      diagnostics.error(found.value.span, "wrong-type", "reload is a map of parameters");
      return undefined;
    }
    const changed = found.value.entries;
    params = [...params.filter(({ key }) => !changed.some((one) => one.key === key)), ...changed];
    const value: MapNode = { kind: "map", entries: params, span: found.value.span };
    const entries = [{ ...found, key: "params", value }];
    const config = readParams({ kind: "map", entries, span: node.span }, folder, diagnostics);
    if (config === undefined) return undefined;
    for (const { key, keySpan } of changed) {
      if (filter.manifest.params.some(({ name, reload }) => name === key && reload !== true)) {
        diagnostics.error(keySpan, "contradiction", `${key} has no reload: true: only a restart changes it`);
        isRight = false;
      }
    }
    if (config.outputs.some((name) => !before.outputs.includes(name))) {
      diagnostics.error(found.value.span, "contradiction", "a reload cannot name more outputs");
      isRight = false;
    }
    before = { ...config, outputs: filter.outputs };
    reloads.set(i, before);
  }
  return isRight ? reloads : undefined;
}

function lineOf({ source, start }: Span): number {
  return source.locate(start).line;
}
