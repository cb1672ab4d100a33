/** What in a pipeline file is right, and yet seldom what is meant. In: its devices as they were written, and read. */
import { entry, type Node } from "./tree.ts";
import type { DeviceConfig } from "./types.ts";

/** @param workers as the file says; undefined: it does not @returns lines to be said once, none for most files */
export function warningsOf(
  devices: readonly DeviceConfig[],
  written: Node | undefined,
  workers: number | undefined,
): string[] {
  const most = Math.max(1, ...devices.map(queuesOf));
  const warnings = devices.flatMap((device) => bareAddresses(device, written));
  if (workers !== undefined && workers > most) {
    const [idle, queues] = [workers - most, most === 1 ? "one queue" : `${most} queues`];
    warnings.push(
      `workers: ${workers}, but no device has more than ${queues}: ` +
        `${idle} worker${idle === 1 ? " has" : "s have"} nothing to do`,
    );
  }
  return warnings;
}

export function queuesOf({ params }: DeviceConfig): number {
  return typeof params["queues"] === "number" ? params["queues"] : 1;
}

/** As with `ip address add`, an address without a length is a network of its own. With routes, that is meant. */
function bareAddresses({ id, params }: DeviceConfig, written: Node | undefined): string[] {
  const node = written?.kind === "map" ? entry(written, id)?.value : undefined;
  const address = node?.kind === "map" ? entry(node, "address")?.value : undefined;
  const routes = params["routes"];
  if (address === undefined || (Array.isArray(routes) && routes.length > 0)) return [];
  return (address.kind === "list" ? address.items : [address]).flatMap((one: Node) => {
    if (one.kind !== "scalar" || typeof one.value !== "string" || one.value.includes("/")) return [];
    const [whole, usual] = one.value.includes(":") ? [128, 64] : [32, 24];
    return [
      `device "${id}": address ${one.value} has no length and is ${one.value}/${whole}, so no other host is behind it: ` +
        `write ${one.value}/${usual}, say, or give routes`,
    ];
  });
}
