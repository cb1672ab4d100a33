// The filter writer's SDK: import it as "pktflow/assembly". README.md has the ABI.

export * from "./abi/batch";
export * from "./abi/context";
export * from "./abi/hold";
export * from "./abi/layout";
export * from "./abi/packet";
export * from "./lib/checksum";
export * from "./lib/edit";
export * from "./lib/flow";
export * from "./lib/log";
export * from "./lib/prefix-tree";
export * from "./lib/shared-table";
export * from "./lib/spin-lock";
export * from "./lib/state";
export * from "./lib/table";
export * from "./lib/token-bucket";
export * from "./lib/worker-table";
export * from "./wire/arp";
export * from "./wire/bytes";
export * from "./wire/ethernet";
export * from "./wire/gre";
export * from "./wire/icmp";
export * from "./wire/ipv4";
export * from "./wire/ipv6";
export * from "./wire/tcp";
export * from "./wire/udp";
export * from "./wire/vxlan";
