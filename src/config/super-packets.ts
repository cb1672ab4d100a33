/**
 * Filters that want packets one by one, as they are on the wire: `super-packets: no` in their manifest. Devices from which
 * packets may come to one get no offloads, so that the kernel cuts super-packets and completes checksums before. Those that
 * packets only leave by keep theirs.
 */
import type { DeviceSymbol } from "./devices.ts";
import type { Diagnostics } from "./diagnostics.ts";
import type { PathSymbol } from "./paths.ts";

export function settleOffloads(
  paths: Map<string, PathSymbol>,
  devices: Map<string, DeviceSymbol>,
  diagnostics: Diagnostics,
): void {
  for (const device of devices.values()) {
    const params = device.config?.params;
    if (params?.["offload"] === undefined || params["offload"] === "off") continue;
    const starts = [...paths.values()].filter(({ from }) => from.some((one) => one.device === device));
    const filter = firstSingle(starts, paths);
    if (filter === undefined) continue;
    if (params["offload"] === "auto") {
      params["offload"] = "off";
      continue;
    }
    const message = `device ${JSON.stringify(device.id)} has "offload: on", and filter ${JSON.stringify(filter)} takes no super-packets`;
    diagnostics.error(device.keySpan, "contradiction", message, "offload: auto");
  }
}

/** Id of a filter on these paths, or on those they lead to, that takes no super-packets. */
function firstSingle(starts: PathSymbol[], paths: Map<string, PathSymbol>): string | undefined {
  const seen = new Set<PathSymbol>();
  const open = [...starts];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    for (const { filter, outputs } of path.steps) {
      if (filter.config?.manifest.superPackets === false) return filter.id;
      for (const output of outputs) open.push(paths.get(output.path)!);
    }
    if (path.to?.target.kind === "path") open.push(paths.get(path.to.target.path)!);
  }
  return undefined;
}
