/** The pipeline of the standing set that has a thousand rules, of which the last one matches; bench/peers/chain.h makes the same. */
export function manyRules(count) {
  const rules = Array.from({ length: count - 1 }, (_, i) => {
    const address = 0xac100000 + i * 16;
    const octets = [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
    return `      - { action: accept, from: ${octets}/28, proto: ${i & 1 ? "tcp" : "udp"}, to-port: ${10_000 + i} }`;
  });
  return `pktflow: 1
name: thousand-rules
devices:
  lan: { kind: tun, address: 10.77.0.1/24 }
  wan: { kind: tun, address: 198.51.100.1/24 }
filters:
  sane: { kind: checksum, verify: [ipv4, tcp, udp, icmp] }
  firewall:
    kind: acl
    rules:
${rules.join("\n")}
      - { action: accept, proto: udp, to-port: 53 }
  masquerade: { kind: nat, inside: 10.77.0.0/24, outside: 198.51.100.2 }
paths:
  outbound: { from: lan, through: [sane, firewall, masquerade], to: wan }
  inbound: { from: wan, through: [sane, masquerade], to: lan }
`;
}
