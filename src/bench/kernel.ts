/** The kernel itself as a peer: it routes between the two hosts, translates and filters. Needs ip(8) and nft(8). */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { close } from "../sys/calls.ts";
import { createNamespace, withNamespace } from "../sys/namespaces.ts";
import { configure, makeHosts, type Scene, type Standing } from "./scene.ts";

/** A third namespace that routes between two veth pairs. It answers for every address, as there is no gateway. */
export async function startKernel(scene: Scene): Promise<Standing> {
  const { topology, from, to, stage } = makeHosts(scene);
  let router = -1;
  const end = () => {
    if (router >= 0) close(router);
    topology.close();
  };
  try {
    router = createNamespace();
    withNamespace(router, () => {
      for (const [i, side] of [stage.from, stage.to].entries()) {
        const peer = ["peer", "name", side.device, "netns", `/proc/${process.pid}/fd/${side.namespace}`];
        run("ip", ["link", "add", `r${i}`, "type", "veth", ...peer]);
        run("ip", ["link", "set", `r${i}`, "up"]);
        writeFileSync(`/proc/sys/net/ipv4/conf/r${i}/proxy_arp`, "1");
        writeFileSync(`/proc/sys/net/ipv4/conf/r${i}/rp_filter`, "0");
        // It would answer after some random time, as one of many proxies.
        writeFileSync(`/proc/sys/net/ipv4/neigh/r${i}/proxy_delay`, "0");
      }
      writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
      [from, to].forEach((host, i) => {
        const { address, length } = host.addresses.find(({ family }) => family === 4) ?? host.addresses[0];
        run("ip", ["route", "add", network(address, length), "dev", `r${i}`]);
      });
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

function network(address: string, length: number): string {
  const octets = address.split(".").map(Number);
  const bits = octets.map((octet, i) => octet & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))) & 0xff);
  return `${bits.join(".")}/${length}`;
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
