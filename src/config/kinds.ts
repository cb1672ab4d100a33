/** The device kinds that a pipeline may use unless told otherwise; a new kind adds its manifest here. */
import { manifest as discard } from "../devices/discard/manifest.ts";
import { manifest as generator } from "../devices/generator/manifest.ts";
import { manifest as memory } from "../devices/memory/manifest.ts";
import { manifest as pcap } from "../devices/pcap/manifest.ts";
import { manifest as tap } from "../devices/tap/manifest.ts";
import { manifest as tun } from "../devices/tun/manifest.ts";
import type { DeviceManifest } from "./types.ts";

export const deviceManifests: DeviceManifest[] = [tun, tap, pcap, generator, discard, memory];
