/** Which files the captures of a pipeline are, so that none is destroyed by another of its devices. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { DeviceConfig } from "../../config/types.ts";

/**
 * @param devices of kind pcap
 * @throws Error when a device would write to the file that another one reads or writes, by whatever name
 */
export function refuseSharedFiles(devices: DeviceConfig[]): void {
  const named = (parameter: "read" | "write") =>
    devices.flatMap(({ id, params }) => {
      const file = (params[parameter] as string | undefined) || "-";
      const identity = file === "-" ? undefined : identityOf(file);
      return identity === undefined ? [] : [{ id, file, identity }];
    });
  const writers = named("write");
  for (const [i, writer] of writers.entries()) {
    const others = [
      ...named("read").map((one) => ({ ...one, does: "reads" })),
      ...writers.slice(0, i).map((one) => ({ ...one, does: "writes" })),
    ];
    const other = others.find(({ id, identity }) => id !== writer.id && identity === writer.identity);
    if (other !== undefined) {
      const what = `device "${writer.id}": ${writer.file} is the file that device "${other.id}" ${other.does}`;
      throw new Error(`${what}: writing would destroy it`);
    }
  }
}

/** A regular file by what it is, one that is still to be made by its path; undefined: a pipe or device, shared by nature. */
function identityOf(file: string): string | undefined {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat === undefined) return resolve(file);
  return stat.isFile() ? `${stat.dev}:${stat.ino}` : undefined;
}
