/** Why the kernel refuses a tun or tap device, in words, and what to do about it. */
import { realpathSync } from "node:fs";
import { E2BIG, EACCES, EBUSY, EINVAL, ENODEV, ENOENT, ENXIO, EPERM, SystemError } from "../../sys/errno.ts";
import { MAX_TAP_QUEUES, TUN_DEVICE } from "../../sys/if_tun.ts";
import type { Link } from "../../sys/links.ts";
import type { Mode } from "./config.ts";

/** The device node could not be opened. */
export function cannotOpenNode(result: number): SystemError {
  return new SystemError("open", TUN_DEVICE, result, { hint: nodeHint(-result), unavailable: true });
}

function nodeHint(errno: number): string | undefined {
  if (errno === ENOENT || errno === ENODEV || errno === ENXIO) {
    return "sudo modprobe tun (in a container: start it with --device /dev/net/tun --cap-add NET_ADMIN)";
  }
  if (errno === EACCES) {
    return `sudo chmod 0666 ${TUN_DEVICE}, or run as root, or use \`pktflow lab\` with your own network namespaces`;
  }
  if (errno === EPERM) return "in a container: start it with --device /dev/net/tun --cap-add NET_ADMIN";
  return undefined;
}

/** TUNSETIFF failed for a reason that looking at the interface beforehand has not shown. */
export function cannotAttach(name: string, result: number, existing: Link | undefined): SystemError {
  return new SystemError("TUNSETIFF", name, result, {
    ...attachOptions(name, -result, existing),
    unavailable: true,
  });
}

function attachOptions(name: string, errno: number, existing: Link | undefined) {
  if (errno === EBUSY) return BUSY;
  if (errno === E2BIG) return { detail: `a device has at most ${MAX_TAP_QUEUES} queues` };
  if (errno !== EPERM) return {};
  const owner = existing?.tun?.owner;
  if (owner !== undefined) {
    return {
      detail: `it belongs to the user ${owner}`,
      hint: `run as that user or as root, or give the device to yours: sudo ip tuntap add ${name} mode ${existing?.tun?.type} user $USER`,
    };
  }
  return { hint: needsNetAdmin() };
}

const BUSY = {
  detail: "another program has it open",
  hint: "end that program (ip -d tuntap shows it), or choose another name",
};

function needsNetAdmin(): string {
  const runtime = realpathSync(process.execPath);
  return `sudo setcap cap_net_admin+ep ${runtime}, or run as root, or use \`pktflow lab\` with its own network namespaces`;
}

/** Setting up the interface failed with EPERM: attaching to an own device is allowed to more users than that. */
export function permissionHint(error: unknown): unknown {
  if (!(error instanceof SystemError) || error.errno !== EPERM || error.hint !== undefined) return error;
  return new SystemError(error.call, error.target, error.errno, { hint: needsNetAdmin() });
}

/** What stands in the way of attaching to an interface that exists; undefined: nothing that can be seen. */
export function mismatch(existing: Link, mode: Mode, queues: number): SystemError | undefined {
  const { name, kind, tun } = existing;
  const refuse = (detail: string, hint: string) =>
    new SystemError("TUNSETIFF", name, EINVAL, { detail, hint, unavailable: true });
  if (kind !== "tun") {
    const what = kind === "" ? "an interface" : `a ${kind} interface`;
    return refuse(`there is ${what} of that name already`, "choose another name");
  }
  // A kernel older than 4.20 does not say more.
  if (!tun) return undefined;
  if (tun.type !== mode) {
    return refuse(
      `it exists as a ${tun.type} device, and a ${mode} device is wanted`,
      "choose another name or kind",
    );
  }
  if (queues > 1 && !tun.multiQueue) {
    return refuse(
      `it exists with a single queue, and ${queues} are wanted`,
      `use queues: 1, or make it anew: sudo ip tuntap del ${name} mode ${mode}; sudo ip tuntap add ${name} mode ${mode} multi_queue`,
    );
  }
  // The kernel would let us in, and share the packets between the two programs.
  if (tun.multiQueue && (tun.queues ?? 0) + (tun.disabledQueues ?? 0) > 0) {
    return new SystemError("TUNSETIFF", name, EBUSY, { ...BUSY, unavailable: true });
  }
  return undefined;
}
