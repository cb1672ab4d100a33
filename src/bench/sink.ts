/**
 * Where the load ends. What comes in from the far device is taken in by the thread that writes to the device, so what
 * the far host does with it counts as the pipeline's time: the less the better. Measured with the C forwarder's time
 * a packet (Linux 6.18, 64 bytes, five runs in turn, lowest): 1.95 us with a drop at the ingress hook of the device,
 * 2.00 us with one before routing, 2.53 us with a socket whose filter refuses it, 2.58 us with a socket that is full,
 * and the more with no socket at all, for then the kernel answers each with an ICMP error.
 */
import { withNamespace } from "../sys/namespaces.ts";
import { NETLINK_NETFILTER, withNetlink } from "../sys/netlink.ts";
import { dropUdpAtIngress } from "../sys/nftables.ts";
import { LOAD } from "./payload.ts";
import type { Side } from "./stage.ts";

/** Where it ends: at the ingress hook, at a socket whose filter refuses it, or read by a program. */
export type SinkKind = "ingress" | "socket" | "streams";

/**
 * Has the load dropped as it enters a host.
 * @returns "socket": this kernel has no such hook, and the filter of the prober's socket must do
 */
export function openSink({ namespace, device }: Side): Exclude<SinkKind, "streams"> {
  try {
    withNamespace(namespace, () =>
      withNetlink((netlink) => dropUdpAtIngress(netlink, device, LOAD), NETLINK_NETFILTER),
    );
    return "ingress";
  } catch {
    return "socket";
  }
}
