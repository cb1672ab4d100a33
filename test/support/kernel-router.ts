/** The kernel's own NAT in a namespace, to hold ours against: packets go in one by one, and what leaves is said of each. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { TestNamespace } from "./namespace.ts";

const SCRIPT = fileURLToPath(new URL("kernel_router.py", import.meta.url));

/** Why there can be none; undefined: there can. */
export const LACKS_NFT =
  spawnSync("nft", ["--version"]).status !== 0
    ? "needs nft"
    : spawnSync("/usr/bin/python3", ["--version"]).status !== 0
      ? "needs python3"
      : undefined;

export type Side = "lan" | "wan";

export class KernelRouter {
  private readonly namespace = new TestNamespace();
  private readonly script: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  private constructor() {
    const { name } = this.namespace;
    this.script = spawn("ip", ["netns", "exec", name, "/usr/bin/python3", SCRIPT, "lan0", "wan0"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.lines = createInterface({ input: this.script.stdout! })[Symbol.asyncIterator]();
  }

  /**
   * @param lan, wan addresses of the devices; everything that is not on them goes out by wan
   * @param rules of nft, as for `nft -f -`
   */
  static async start(lan: string, wan: string, rules: string): Promise<KernelRouter> {
    const router = new KernelRouter();
    try {
      await router.line();
      const { namespace } = router;
      for (const [device, address] of [
        ["lan0", lan],
        ["wan0", wan],
      ]) {
        namespace.ip(`address add ${address} dev ${device}`);
        namespace.ip(`link set ${device} up`);
      }
      namespace.ip("link set lo up");
      namespace.ip("route add default dev wan0");
      for (const setting of ["ip_forward=1", "conf.all.rp_filter=0", "conf.all.send_redirects=0"])
        namespace.run("sysctl", "-qw", `net.ipv4.${setting}`);
      execFileSync("ip", ["netns", "exec", namespace.name, "nft", "-f", "-"], {
        input: rules,
        stdio: ["pipe", "ignore", "pipe"],
      });
      router.script.stdin!.write("go\n");
    } catch (error) {
      router.stop();
      throw error;
    }
    return router;
  }

  /** `ip WORDS` in its namespace. */
  ip(words: string): void {
    this.namespace.ip(words);
  }

  /** Lets it forward IPv6, too; everything that is not on its devices goes out by wan. */
  forwardIpv6(lan: string, wan: string): void {
    this.namespace.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1");
    this.ip(`-6 address add ${lan} dev lan0 nodad`);
    this.ip(`-6 address add ${wan} dev wan0 nodad`);
    this.ip("-6 route add default dev wan0");
  }

  /** A packet arrives. @returns what left then, in order */
  async send(side: Side, bytes: Uint8Array): Promise<{ side: Side; bytes: Uint8Array }[]> {
    this.script.stdin!.write(`${side} ${Buffer.from(bytes).toString("hex")}\n`);
    const left = JSON.parse(await this.line()) as [Side, string][];
    return left.map(([to, hex]) => ({ side: to, bytes: Uint8Array.from(Buffer.from(hex, "hex")) }));
  }

  stop(): void {
    this.script.kill("SIGKILL");
    this.namespace.remove();
  }

  private async line(): Promise<string> {
    const { value, done } = await this.lines.next();
    if (done) throw new Error("the kernel's router has ended");
    return value;
  }
}
