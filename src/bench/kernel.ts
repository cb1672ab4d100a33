/** The kernel itself as a peer: it routes or bridges between the two hosts, translates and filters. Needs ip(8) and nft(8). */
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import type { Host, HostAddress } from "../lab/topology.ts";
import { formatAddress, parseAddress } from "../params/addresses.ts";
import { close } from "../sys/calls.ts";
import { createNamespace, withNamespace } from "../sys/namespaces.ts";
import { configure, makeHosts, type Scene, type Standing } from "./scene.ts";

const ACCEPT_DAD = "/proc/sys/net/ipv6/conf/default/accept_dad";

/**
 * A third namespace between two veth pairs: it routes between two networks, and answers for every address, as there is
 * no gateway; between two hosts of the same network it is a bridge.
 */
export async function startKernel(scene: Scene): Promise<Standing> {
  const { topology, from, to, stage } = makeHosts(scene);
  let router = -1;
  const end = () => {
    if (router >= 0) close(router);
    topology.close();
  };
  try {
    router = createNamespace();
    const ways = [from, to].map((host): Way => {
      const own = addressOf(scene, host);
      return { ...own, network: networkOf(own) };
    });
    withNamespace(router, () => {
      // It can answer for others at once, and not when its own addresses have been found to be nobody else's.
      if (existsSync(ACCEPT_DAD)) writeFileSync(ACCEPT_DAD, "0");
      for (const [i, side] of [stage.from, stage.to].entries()) {
        const peer = ["peer", "name", side.device, "netns", `/proc/${process.pid}/fd/${side.namespace}`];
        run("ip", ["link", "add", `r${i}`, "type", "veth", ...peer]);
        run("ip", ["link", "set", `r${i}`, "up"]);
      }
      if (ways[0].network === ways[1].network) bridge();
      else for (const [i, way] of ways.entries()) route(way, ways[1 - i], i);
      const rules = kernelRules(scene);
      if (rules !== undefined) {
        run("ip", ["address", "add", `${rules.outside}/32`, "dev", "r1"]);
        run("nft", [rules.text]);
      }
    });
    for (const host of [from, to]) configure(topology.pipeline, host);
  } catch (error) {
    end();
    throw error;
  }
  return { stage, ended: new Promise<never>(() => {}), end, times: () => undefined };
}

interface Way {
  family: 4 | 6;
  address: string;
  /** "10.1.0.0/24" */
  network: string;
}

function bridge(): void {
  run("ip", ["link", "add", "br0", "type", "bridge", "forward_delay", "0"]);
  for (const port of ["r0", "r1"]) run("ip", ["link", "set", port, "master", "br0"]);
  run("ip", ["link", "set", "br0", "up"]);
}

/** The way to the host behind interface r`i`, where what it asks for is the other one. */
function route({ family, network }: Way, other: Way, i: number): void {
  const set = (name: string, value: string) => writeFileSync(`/proc/sys/net/ipv${family}/${name}`, value);
  if (family === 4) {
    set(`conf/r${i}/proxy_arp`, "1");
    set(`conf/r${i}/rp_filter`, "0");
    // It would answer after some random time, as one of many proxies.
    set(`neigh/r${i}/proxy_delay`, "0");
    set("ip_forward", "1");
  } else {
    set("conf/all/forwarding", "1");
    set(`conf/r${i}/proxy_ndp`, "1");
    set(`neigh/r${i}/proxy_delay`, "0");
    run("ip", ["-6", "neigh", "add", "proxy", other.address, "dev", `r${i}`]);
  }
  run("ip", [`-${family}`, "route", "add", network, "dev", `r${i}`]);
}

/** Of the family that the load has. */
function addressOf({ way }: Scene, host: Host): HostAddress {
  const family = way.target.octets.length === 4 ? 4 : 6;
  return host.addresses.find((address) => address.family === family)!;
}

function networkOf({ address, length }: HostAddress): string {
  const { family, bytes } = parseAddress(address)!;
  const masked = bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))) & 0xff);
  return `${formatAddress({ family, bytes: masked })}/${length}`;
}

/** What the pipeline's filters do, as far as nft has words for it; undefined: it has none. */
function kernelRules({ pipeline, way }: Scene): { text: string; outside: string } | undefined {
  const nat = pipeline.filters.find(({ manifest }) => manifest.kind === "nat")?.params;
  if (nat === undefined) return undefined;
  const outside = String(Array.isArray(nat["outside"]) ? nat["outside"][0] : nat["outside"]).split("/")[0];
  const { target, probe } = way;
  const accept =
    "ct state established,related accept; icmp type echo-request accept; " +
    `udp dport { ${target.port}, ${probe?.port ?? target.port} } accept; tcp dport ${target.port} accept;`;
  return {
    outside,
    text:
      `table ip pktflow { chain forward { type filter hook forward priority 0; policy drop; ${accept} }; ` +
      `chain out { type nat hook postrouting priority 100; oifname "r1" snat to ${outside}; }; }`,
  };
}

function run(command: string, args: string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (error !== undefined || status !== 0) {
    throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stderr.trim()}`);
  }
}
