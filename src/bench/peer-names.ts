/** All peers that a pipeline can be compared with, in the order of their turns (peers.ts says what they are). */
export const PEERS: readonly string[] = [
  "forward",
  "forward-vnet",
  "forward-uring",
  "forward-chain",
  "kernel",
];
