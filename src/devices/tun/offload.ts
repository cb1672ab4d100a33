/**
 * What a tun or tap device leaves to us and does for us: checksums, segmentation of TCP and UDP. With IFF_VNET_HDR a
 * struct virtio_net_hdr_v1 stands before each packet that is read or written and says what is left undone in it. The
 * kernel is asked for one offload after the other, for older ones know fewer: CSUM and TSO are as old as the ioctl, USO
 * came with Linux 6.2.
 */
import { OFFLOAD, VNET_HEADER } from "../../batches/layout.ts";
import { check, EOPNOTSUPP, SystemError } from "../../sys/errno.ts";
import { tunGetVnetHdrSize, tunSetOffload, tunSetVnetHdrSize } from "../../sys/if_tun.ts";
import type { Link } from "../../sys/links.ts";
import type { Offload } from "./config.ts";

/** In the order in which they are tried. tun takes USO4 and USO6 together only, and all others only beside CSUM. */
const STEPS: [string, number][] = [
  ["CSUM", OFFLOAD.CSUM],
  ["TSO4", OFFLOAD.TSO4],
  ["TSO6", OFFLOAD.TSO6],
  ["TSO_ECN", OFFLOAD.TSO_ECN],
  ["USO4 and USO6", OFFLOAD.USO4 | OFFLOAD.USO6],
];
/** Without these `offload: on` is an error. */
const NEEDED = OFFLOAD.CSUM | OFFLOAD.TSO4 | OFFLOAD.TSO6;

export interface DeviceOffloads {
  /** OFFLOAD bits that the device has. */
  offloads: number;
  /** Bytes of the header before each packet; 0: there is none. */
  header: number;
  /** What they were before, to be left so. */
  formerHeader: number;
}

export const NO_OFFLOADS: DeviceOffloads = { offloads: 0, header: 0, formerHeader: 0 };

/**
 * Are offloads to be tried? Attaching with IFF_VNET_HDR turns the header on for the device, so with `auto` one that
 * somebody else made without it stays without.
 */
export function wantsOffloads(offload: Offload, existing: Link | undefined): boolean {
  if (offload === "auto") return existing === undefined || existing.tun?.vnetHdr === true;
  return offload === "on";
}

/**
 * Turns on what the kernel has. The device was attached to with IFF_VNET_HDR.
 * @param fd any queue of it
 * @throws SystemError when `on` cannot be had, naming what is missing
 */
export function enableOffloads(fd: number, name: string, offload: Offload): DeviceOffloads {
  const formerHeader = check(tunGetVnetHdrSize(fd), "TUNGETVNETHDRSZ", name);
  check(tunSetVnetHdrSize(fd, VNET_HEADER), "TUNSETVNETHDRSZ", name);
  let offloads = 0;
  let refused = -EOPNOTSUPP;
  const missing: string[] = [];
  for (const [word, bits] of STEPS) {
    const result = tunSetOffload(fd, offloads | bits);
    if (result >= 0) {
      offloads |= bits;
    } else {
      refused = result;
      missing.push(word);
    }
  }
  // A refused set may have left its mark.
  check(tunSetOffload(fd, offloads), "TUNSETOFFLOAD", name);
  if (offload === "on" && (offloads & NEEDED) !== NEEDED) {
    throw new SystemError("TUNSETOFFLOAD", name, refused, {
      detail: `this kernel does not have ${missing.join(", ")} for it`,
      hint: "use offload: auto to take what there is, or off",
      unavailable: true,
    });
  }
  return { offloads, header: VNET_HEADER, formerHeader };
}

/**
 * Leaves the device as a reader expects it that knows nothing of offloads: what the last one asked for stays with it.
 * Failing that, there is nothing to be done: the device is about to be closed.
 */
export function disableOffloads(fd: number, { formerHeader }: DeviceOffloads): void {
  tunSetOffload(fd, 0);
  tunSetVnetHdrSize(fd, formerHeader);
}
