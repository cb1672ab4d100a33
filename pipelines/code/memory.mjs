// A firewall and a NAT between two lists in memory: packets go in as bytes and come out as bytes. No privilege.
//
//     node pipelines/code/memory.mjs
//
// @ts-check
import { conservation, pipeline, run } from "pktflow";

const flow = pipeline({
  name: "in-memory",
  devices: {
    inside: { kind: "memory" },
    outside: { kind: "memory" },
  },
  filters: {
    firewall: { kind: "acl", rules: [{ action: "accept", proto: "udp", "to-port": [53, "8000-8999"] }] },
    masquerade: { kind: "nat", inside: "10.0.0.0/8", outside: "192.0.2.1" },
  },
  paths: {
    out: { from: "inside", through: ["firewall", "masquerade"], to: "outside" },
  },
});

/** An IPv4 packet with UDP and no data; UDP's checksum is left out (0), as IPv4 allows. @param {number} port */
function datagram(port) {
  const packet = Buffer.from("4500001c000000004011000000000000000000000000000000080000", "hex");
  packet.set([10, 0, 0, 5], 12);
  packet.set([198, 51, 100, 7], 16);
  packet.writeUInt16BE(40_000, 20);
  packet.writeUInt16BE(port, 22);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += packet.readUInt16BE(i);
  packet.writeUInt16BE(~((sum & 0xffff) + (sum >>> 16)) & 0xffff, 10);
  return packet;
}

const running = await run(flow);
const { inside, outside } = running.devices;

// write() waits for room, so any number of packets can be sent; end() lets the pipeline end when they are through.
const sending = inside.write([53, 80, 8080].map(datagram)).then(() => inside.end());

for await (const packets of outside) {
  for (const packet of packets) {
    const view = Buffer.from(packet);
    console.log(`from ${view.subarray(12, 16).join(".")} to port ${view.readUInt16BE(22)}`);
  }
}

await sending;
const report = await running.ended;
console.log(`dropped by the firewall: ${report.filters["firewall"].outputs["drop"]}`);
console.log(`missing: ${conservation(report).missing}`);
