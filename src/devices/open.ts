/**
 * The devices of a pipeline, opened on the main thread. In: their configuration. Out: descriptors for kernel queues,
 * plain data from which workers open soft ones, and the facts that the plan is made from.
 */
import type { DeviceConfig, Pipeline } from "../config/types.ts";
import { layersInto } from "../plan/paths.ts";
import type { DeviceFacts } from "../plan/types.ts";
import { factsBeforeOpening } from "./facts.ts";
import { prepareGenerator } from "./generator/prepare.ts";
import { refuseSharedFiles } from "./pcap/files.ts";
import { type PreparedPcap, preparePcap } from "./pcap/prepare.ts";
import type { SoftOptions } from "./soft.ts";
import { openDevice as openTun } from "./tun/open.ts";

export interface OpenedDevice {
  facts: DeviceFacts;
  /** Queue i's descriptor; empty: it is no kernel device. */
  fds: readonly number[];
  soft: SoftOptions;
  warnings: readonly string[];
  /** Packets go to standard output, so nothing else may. */
  usesStdout: boolean;
  /** Call it when no worker uses the device any more. Throws when what was written did not arrive. */
  close(): void;
}

/**
 * Opens every device of a pipeline, files that are written last: their header says what kind of packets arrive.
 * @param signal ends the wait for who reads a named pipe
 * @throws SystemError, the signal's reason, and what a capture's beginning is refused for; nothing stays open then
 */
export async function openDevices(pipeline: Pipeline, signal?: AbortSignal): Promise<OpenedDevice[]> {
  const opened: OpenedDevice[] = [];
  const captures: [DeviceConfig, OpenedDevice, PreparedPcap][] = [];
  refuseSharedFiles(pipeline.devices.filter(({ kind }) => kind === "pcap"));
  try {
    for (const device of pipeline.devices) {
      if (device.kind === "pcap") {
        const prepared = await preparePcap(device, signal);
        opened.push(fromPcap(prepared));
        captures.push([device, opened[opened.length - 1], prepared]);
      } else {
        opened.push(openOne(device));
      }
    }
    const recorded = captures
      .filter(([, , { source }]) => source)
      .map(([device]) => pipeline.devices.indexOf(device));
    const live = opened.some(({ facts }) => facts.kernel);
    for (const [device, slot, prepared] of captures) {
      await prepared.create(arrivingLayer(pipeline, device, opened), recorded, live);
      slot.soft.sink = prepared.sink;
    }
    return opened;
  } catch (error) {
    closeAll(opened);
    throw error;
  }
}

/** Closes every device, all of them even if one fails. @returns what failed */
export function closeAll(devices: OpenedDevice[]): unknown[] {
  const failures: unknown[] = [];
  for (const device of devices) {
    try {
      device.close();
    } catch (error) {
      failures.push(error);
    }
  }
  return failures;
}

function openOne(device: DeviceConfig): OpenedDevice {
  const facts = factsBeforeOpening(device);
  if (facts.kernel) {
    const { fds, mtu, offloads, vnetHeader, warnings, close } = openTun(device);
    return {
      facts: { ...facts, mtu, offloads, vnetHeader },
      fds,
      soft: {},
      warnings,
      usesStdout: false,
      close,
    };
  }
  const source = device.kind === "generator" ? prepareGenerator(device) : undefined;
  return { facts, fds: [], soft: { source }, warnings: [], usesStdout: false, close() {} };
}

function fromPcap({ facts, source, usesStdout, close }: PreparedPcap): OpenedDevice {
  return { facts, fds: [], soft: { source }, warnings: [], usesStdout, close };
}

/**
 * The layer of the packets that reach a device.
 * @throws Error when they are of both layers, which only a file's link type can bring about
 */
function arrivingLayer(pipeline: Pipeline, device: DeviceConfig, opened: OpenedDevice[]): 2 | 3 {
  const layerOf = (id: string) => opened[pipeline.devices.findIndex((other) => other.id === id)].facts.layer;
  const layers = layersInto(pipeline, device.id, layerOf);
  const [two, three] = [layers.get(2), layers.get(3)];
  if (two !== undefined && three !== undefined) {
    throw new Error(
      `device "${device.id}": packets with an Ethernet header (from "${two}") and without (from "${three}") ` +
        "cannot stand in one capture",
    );
  }
  return two === undefined ? 3 : 2;
}
