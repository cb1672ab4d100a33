/** Raw IP sockets, for those who speak ICMP themselves. Results are non-negative or -errno. */
import { close, F_GETFL, F_SETFL, fcntl, O_NONBLOCK } from "./calls.ts";
import { AF_INET, AF_INET6, connect, SOCK_RAW, setsockopt, socket } from "./socket.ts";

// <netinet/in.h>
export const IPPROTO_ICMP = 1;
export const IPPROTO_ICMPV6 = 58;
const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
// <linux/in.h>, <linux/in6.h>
const IP_RECVERR = 11;
const IPV6_RECVERR = 25;

/**
 * A nonblocking raw ICMP or ICMPv6 socket to one peer, for read and write: write takes an ICMP message, read gives what
 * the peer sent (behind its IP header, if IPv4), and an ICMP error about what was written fails the next call with its
 * errno. The kernel sums ICMPv6 messages, the caller ICMP ones.
 * @param octets the peer's address: 4 or 16 bytes, network order
 * @returns the descriptor, or -errno
 */
export function connectIcmp(octets: readonly number[]): number {
  const v4 = octets.length === 4;
  const fd = socket(v4 ? AF_INET : AF_INET6, SOCK_RAW, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
  if (fd < 0) return fd;
  const result = prepare(fd, octets, v4);
  if (result >= 0) return fd;
  close(fd);
  return result;
}

function prepare(fd: number, octets: readonly number[], v4: boolean): number {
  let result = setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, 1);
  if (result < 0) return result;
  result = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  if (result < 0) return result;
  return connect(fd, { octets, port: 0 });
}
