/** Two nats that give away the ports of one outside address: each has mappings that the other does not know. */
import type { Warned, Warning } from "./index.ts";

export function sharedOutsides({ params }: Warned, before: Warned[]): Warning[] {
  const outside = params["outside"] as string[];
  return before.flatMap((other): Warning[] => {
    const theirs = other.params["outside"] as string[];
    const at = outside.findIndex((address) => theirs.includes(address));
    if (at < 0) return [];
    const message = (where: string) =>
      `${outside[at]} is an outside address of "${other.id}" too (${where}): both give away its ports, and packets to them find the mappings of whichever comes first on their path`;
    return [
      {
        code: "shared-address",
        path: ["outside", at],
        message,
        other: { filter: other.id, path: ["outside"] },
      },
    ];
  });
}
