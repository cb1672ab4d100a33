/** Two hosts and what is put between them. Thread: the main one. */
import type { Pipeline } from "../config/types.ts";
import type { ThreadTimes } from "../control/threads.ts";
import { type Host, makeTopology, type Topology } from "../lab/topology.ts";
import { addAddress } from "../sys/addresses.ts";
import { ENODEV, SystemError } from "../sys/errno.ts";
import { getLink, setLinkMtu, setLinkUp } from "../sys/links.ts";
import { withNamespace } from "../sys/namespaces.ts";
import { withNetlink } from "../sys/netlink.ts";
import { addRoute } from "../sys/routes.ts";
import { sideOf } from "./measure.ts";
import type { Stage } from "./stage.ts";
import type { Way } from "./traffic.ts";

/** A peer that stands between its hosts and forwards. */
export interface Standing {
  stage: Stage;
  /** Of all its threads; undefined: it has none of its own. */
  times(): ThreadTimes | undefined;
  /** Rejects when it ends by itself. */
  ended: Promise<never>;
  end(): void | Promise<void>;
}

/** Between whom, and what for. */
export interface Scene {
  pipeline: Pipeline;
  queues: number;
  /** As found with the pipeline: device ids and target. */
  way: Pick<Way, "from" | "to" | "target" | "probe">;
}

/** Hosts with nothing between them yet. */
export interface EmptyScene {
  topology: Topology;
  from: Host;
  to: Host;
  stage: Stage;
}

/** The hosts of a scene without the pipeline between them. */
export function makeHosts({ pipeline, way }: Scene): EmptyScene {
  const topology = makeTopology(pipeline);
  const host = (id: string) => topology.hosts.find(({ device }) => device === id)!;
  const [from, to] = [host(way.from.device), host(way.to.device)];
  const stage: Stage = {
    from: sideOf(topology.pipeline, from),
    to: sideOf(topology.pipeline, to),
    target: way.target,
    probe: way.probe,
  };
  return { topology, from, to, stage };
}

/** As the pipeline's own device would be. */
export function configure(pipeline: Pipeline, host: Host): void {
  const { params } = pipeline.devices.find(({ id }) => id === host.device)!;
  const { namespace, device } = sideOf(pipeline, host);
  withNamespace(namespace, () =>
    withNetlink((netlink) => {
      const link = getLink(netlink, device);
      if (link === undefined) throw new SystemError("RTM_GETLINK", device, ENODEV);
      setLinkMtu(netlink, link, params["mtu"] as number);
      for (const address of params["address"] as string[]) addAddress(netlink, link, address);
      setLinkUp(netlink, link, true);
      for (const destination of params["routes"] as string[]) addRoute(netlink, { destination, dev: link });
    }),
  );
}
