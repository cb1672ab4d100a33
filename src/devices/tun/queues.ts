/** Queues of a tun or tap device: one descriptor each, in the order of the kernel's numbers. */
import { close, O_NONBLOCK, O_RDWR, open } from "../../sys/calls.ts";
import { check, EINVAL, SystemError } from "../../sys/errno.ts";
import {
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_TAP,
  IFF_TUN,
  IFF_TUN_EXCL,
  IFF_VNET_HDR,
  IFNAMSIZ,
  TUN_DEVICE,
  tunSetIff,
  tunSetOffload,
} from "../../sys/if_tun.ts";
import type { Link } from "../../sys/links.ts";
import type { TunConfig } from "./config.ts";
import {
  type DeviceOffloads,
  disableOffloads,
  enableOffloads,
  NO_OFFLOADS,
  wantsOffloads,
} from "./offload.ts";
import { cannotAttach, cannotOpenNode } from "./refusal.ts";

export interface OpenQueues {
  /** Nonblocking descriptors, closed on exec. */
  fds: readonly number[];
  offload: DeviceOffloads;
}

/**
 * Opens all queues of a device in this thread's network namespace: makes the device, or attaches to `existing`.
 * The name has passed checkName.
 * @throws SystemError; nothing stays open then, and what was made is gone
 */
export function openQueues(
  { mode, name, queues, offload }: Pick<TunConfig, "mode" | "name" | "queues" | "offload">,
  existing: Link | undefined,
): OpenQueues {
  // Attaching with or without the flag must match the device.
  const multiQueue = existing?.tun ? existing.tun.multiQueue : queues > 1;
  const wanted = wantsOffloads(offload, existing);
  const flags =
    (mode === "tun" ? IFF_TUN : IFF_TAP) |
    IFF_NO_PI |
    (multiQueue ? IFF_MULTI_QUEUE : 0) |
    (wanted ? IFF_VNET_HDR : 0);
  const fds: number[] = [];
  try {
    for (let queue = 0; queue < queues; queue++) {
      const fd = open(TUN_DEVICE, O_RDWR | O_NONBLOCK);
      if (fd < 0) throw cannotOpenNode(fd);
      fds.push(fd);
      // Whoever made an interface of that name since we looked must not have it changed by us.
      const exclusive = existing === undefined && queue === 0 ? IFF_TUN_EXCL : 0;
      const result = tunSetIff(fd, name, flags | exclusive);
      if (result < 0) throw cannotAttach(name, result, existing);
    }
    // The last reader's offloads stay with the device, and their packets have a header that we did not ask for.
    if (!wanted) check(tunSetOffload(fds[0], 0), "TUNSETOFFLOAD", name);
    return { fds, offload: wanted ? enableOffloads(fds[0], name, offload) : NO_OFFLOADS };
  } catch (error) {
    closeQueues({ fds, offload: NO_OFFLOADS });
    throw error;
  }
}

/** The last one last: the kernel numbers queues anew when one goes, and this way no packet changes its queue. */
export function closeQueues({ fds, offload }: OpenQueues): void {
  if (offload.header > 0) disableOffloads(fds[0], offload);
  for (const fd of fds.toReversed()) close(fd);
}

/** As dev_valid_name() in net/core/dev.c; "%" because the kernel would make a number of "%d". */
export function nameProblem(name: string): string | undefined {
  const bytes = new TextEncoder().encode(name).length;
  if (bytes >= IFNAMSIZ) return `a name has at most ${IFNAMSIZ - 1} bytes, this one has ${bytes}`;
  if (name === "" || name === "." || name === ".." || /[\s/:%\0]/.test(name)) {
    return 'a name is not empty, "." or ".." and has no "/", ":", "%" or space in it';
  }
  return undefined;
}

/** @throws SystemError, EINVAL as the kernel would give for most of them */
export function checkName(name: string): void {
  const detail = nameProblem(name);
  if (detail !== undefined) throw new SystemError("TUNSETIFF", name, EINVAL, { detail });
}
