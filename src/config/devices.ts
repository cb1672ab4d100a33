/** The `devices` section: ids to checked DeviceConfigs. */
import { closest } from "../params/suggest.ts";
import type { Diagnostics } from "./diagnostics.ts";
import { asMap, checkParams, namedEntries, readKind } from "./shape.ts";
import type { Span } from "./source.ts";
import { type Entry, entry, type MapNode, type Node, spanAt } from "./tree.ts";
import type { DeviceConfig, DeviceManifest } from "./types.ts";

/** IFNAMSIZ counts the NUL. */
const LONGEST_NAME = 15;
/** Descriptors number devices in a byte. */
const MOST_DEVICES = 256;

/** A device that paths can refer to, whether its own entry is right or not. */
export interface DeviceSymbol {
  id: string;
  keySpan: Span;
  /** undefined: of no known kind. */
  manifest: DeviceManifest | undefined;
  /** undefined: something is wrong with it, and has been reported. */
  config: DeviceConfig | undefined;
  used: boolean;
}

export function readDevices(
  node: Node,
  manifests: DeviceManifest[],
  diagnostics: Diagnostics,
): Map<string, DeviceSymbol> {
  const devices = new Map<string, DeviceSymbol>();
  const map = asMap(node, "devices", diagnostics);
  if (!map) return devices;
  const names = new Map<string, string>();
  for (const found of namedEntries(map, "device", diagnostics)) {
    const device = readDevice(found, manifests, diagnostics);
    devices.set(device.id, device);
    if (device.id === "drop") {
      diagnostics.error(
        device.keySpan,
        "reserved",
        'a device cannot be called "drop": "to: drop" has a meaning',
      );
    }
    if (found.value.kind === "map") checkName(device, found.value, names, diagnostics);
  }
  if (devices.size > MOST_DEVICES) {
    diagnostics.error(map.span, "out-of-range", `devices wants at most ${MOST_DEVICES}, has ${devices.size}`);
  }
  return devices;
}

/** Can packets come from it? A kind that reads and writes files is a source when it is told what to read. */
export function isSource({ manifest, config }: DeviceSymbol): boolean {
  if (manifest?.layer === "file" && config) return Boolean(config.params["read"]);
  return manifest?.source ?? true;
}

export function isSink({ manifest, config }: DeviceSymbol): boolean {
  if (manifest?.layer === "file" && config) return Boolean(config.params["write"]);
  return manifest?.sink ?? true;
}

function readDevice(
  { key, keySpan, value }: Entry,
  manifests: DeviceManifest[],
  diagnostics: Diagnostics,
): DeviceSymbol {
  const who = `device ${JSON.stringify(key)}`;
  const device: DeviceSymbol = { id: key, keySpan, manifest: undefined, config: undefined, used: false };
  const map = asMap(value, who, diagnostics);
  if (!map) return device;
  const kind = readKind(map, who, keySpan, diagnostics);
  if (!kind) return device;
  device.manifest = manifests.find((manifest) => manifest.kind === kind.name);
  if (!device.manifest) {
    const known = manifests.map((manifest) => manifest.kind);
    const message = `${who}: there is no device kind ${JSON.stringify(kind.name)} (${known.join(", ")})`;
    diagnostics.error(kind.span, "unknown-kind", message, closest(kind.name, known));
    return device;
  }
  const { params: specs } = device.manifest;
  const named: MapNode =
    specs.some((spec) => spec.name === "name") && !entry(map, "name")
      ? {
          ...map,
          entries: [
            ...map.entries,
            { key: "name", keySpan, value: { kind: "scalar", value: key, span: keySpan } },
          ],
        }
      : map;
  const params = checkParams(named, ["kind"], specs, who, keySpan, diagnostics);
  if (params) device.config = { id: key, kind: kind.name, params };
  for (const { path, message } of (params && device.manifest.contradictions?.(params)) ?? []) {
    diagnostics.error(path.length === 0 ? keySpan : spanAt(map, path), "contradiction", `${who}: ${message}`);
  }
  return device;
}

/** No two interfaces of one network namespace have the same name. */
function checkName(
  { id, keySpan, manifest }: DeviceSymbol,
  map: MapNode,
  names: Map<string, string>,
  diagnostics: Diagnostics,
): void {
  if (!manifest?.params.some((spec) => spec.name === "name")) return;
  // As it was written: it is checked even when something else about the device is wrong.
  const name = textOf(map, "name") ?? (entry(map, "name") ? undefined : id);
  if (name === undefined) return;
  const place = `${textOf(map, "netns") ?? ""}\0${name}`;
  const other = names.get(place);
  if (other === undefined) names.set(place, id);
  const why = badName(name) ?? (other === undefined ? undefined : `is the name of device "${other}" already`);
  if (why === undefined) return;
  const given = entry(map, "name");
  const origin = given ? "" : " (the id is the name unless name: says another)";
  const message = `device ${JSON.stringify(id)}: ${JSON.stringify(name)} ${why}${origin}`;
  diagnostics.error(given?.value.span ?? keySpan, "bad-name", message);
}

function textOf(map: MapNode, key: string): string | undefined {
  const value = entry(map, key)?.value;
  return value?.kind === "scalar" && typeof value.value === "string" ? value.value : undefined;
}

/** What the kernel's dev_valid_name() refuses, and "%", which asks the kernel for a name of its own choice. */
function badName(name: string): string | undefined {
  const bytes = new TextEncoder().encode(name).length;
  if (bytes > LONGEST_NAME) {
    return `is no name of an interface: it has ${bytes} bytes, ${LONGEST_NAME} is the most`;
  }
  if (name === "" || name === "." || name === ".." || /[\s/:%\p{Cc}]/u.test(name)) {
    return 'is no name of an interface: "/", ":", "%", spaces, "." and ".." cannot be';
  }
  return undefined;
}
