/** The device kinds that a pipeline may use unless told otherwise; a new kind adds its manifest here. */
import type { DeviceManifest } from "./types.ts";

export const deviceManifests: DeviceManifest[] = [];
