/** The same packets through nft in a namespace of its own: see nft_verdicts.py. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { TestNamespace } from "./namespace.ts";

const SCRIPT = fileURLToPath(new URL("nft_verdicts.py", import.meta.url));

export interface NftStep {
  /** Does it come from the inside device, 10.0.0.0/8 and 2001:db8:1::/48, or from the other one. */
  inside: boolean;
  bytes: Uint8Array;
  /** Seconds before it. */
  wait?: number;
}

/**
 * @param sets definitions of sets @param rules of a chain at the forward hook whose policy is to drop
 * @param loose net.netfilter.nf_conntrack_tcp_loose
 * @returns for each packet, whether it came out at the other device
 */
export function nftVerdicts(sets: string, rules: string[], steps: NftStep[], loose = true): boolean[] {
  const ruleset = `table inet wall {
${sets}
  chain raw { type filter hook prerouting priority raw;
    udp dport 65000 notrack
  }
  chain wall { type filter hook forward priority filter; policy drop;
    udp dport 65000 accept
${rules.map((rule) => `    ${rule}`).join("\n")}
  }
}
`;
  const namespace = new TestNamespace();
  try {
    const task = {
      ruleset,
      loose,
      steps: steps.map(({ inside, bytes, wait }) => ({
        inside,
        hex: Buffer.from(bytes).toString("hex"),
        ...(wait === undefined ? {} : { wait }),
      })),
    };
    const output = execFileSync("ip", ["netns", "exec", namespace.name, "/usr/bin/python3", SCRIPT], {
      input: JSON.stringify(task),
      encoding: "utf8",
      maxBuffer: 1 << 26,
      stdio: ["pipe", "pipe", "pipe"],
    });
    return JSON.parse(output);
  } finally {
    namespace.remove();
  }
}
