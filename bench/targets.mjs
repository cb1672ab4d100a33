/** What the standing set is to reach, and where in its results the figure is. `least` or `most`. */
export const TARGETS = [
  ...peer("forward", "forward", 1, "64 B UDP, no offload, by forward.c"),
  ...peer("forward", "forward-uring", 0.97, "64 B UDP, no offload, by forward-uring.c"),
  ...peer("thousand-rules", "forward", 0.9, "checksum, 1,000 rules, NAT of 10,000 flows, by bare forward.c"),
  ...peer("tcp", "forward-vnet", 0.95, "TCP through nat-gateway, by forward-vnet.c"),
  ...peer("tcp", "kernel", 0.9, "TCP through nat-gateway, by the kernel's nft"),
  ...peer("uso", "forward-vnet", 0.9, "UDP_SEGMENT with USO, by forward-vnet.c"),
  ...peer("coalesce", "devices.b.offload=off", 1.5, "small UDP coalesced for a USO device, by not"),
  {
    part: "thousand-rules-memory",
    what: "the chain in memory, one worker, Mpps",
    least: 20,
    of: ({ memory }) => memory[0].packets / 1e6,
  },
  {
    part: "thousand-rules-memory",
    what: "the chain in memory, by the same in C",
    least: 0.9,
    of: ({ peers }) => peers[0]?.ratio?.median,
  },
  {
    part: "thousand-rules-memory",
    what: "two workers in memory, by one",
    least: 1.9,
    of: ({ memory }) => memory[1].packets / memory[0].packets,
  },
  {
    part: "ping",
    what: "round trip of a ping above forward.c's, us",
    most: 10,
    of: ({ peers }) => contender(peers, "forward")?.above.median,
  },
  measured("idle", "idle, four queues, % of a core", 0.5),
  measured("start", "`pktflow run` to the first packet, ms", 400),
  measured("memory", "resident, two queues with offloads, MiB", 250, 1),
];

function contender(peers, name) {
  return peers[0].contenders.find((one) => one.name === name);
}

function peer(part, name, least, what) {
  return [{ part, what, least, of: ({ peers }) => contender(peers, name)?.ratio.median }];
}

function measured(list, what, most, index = 0) {
  return { part: "process", what, most, of: (result) => result[list]?.[index]?.median };
}

/** @param results by part, of those that have run */
export function targetText(results) {
  const rows = TARGETS.filter(({ part }) => results[part] !== undefined).map(
    ({ part, what, least, most, of }) => {
      const value = of(results[part]);
      const target = least === undefined ? `at most ${most}` : `at least ${least}`;
      const reached =
        value === undefined
          ? "not measured"
          : (least === undefined ? value <= most : value >= least)
            ? "yes"
            : "NO";
      return [what.padEnd(62), (value?.toFixed(2) ?? "-").padStart(8), target.padEnd(14), reached].join("  ");
    },
  );
  return rows.length === 0 ? "" : `\n# what is to be reached\n${rows.join("\n")}`;
}
