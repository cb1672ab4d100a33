// Hosts for tests, run inside a namespace: node endpoints.mjs ROLE ...
//   download-server PORT BYTES          serves BYTES pseudo-random bytes to each TCP connection; prints "ready"
//   download ADDRESS PORT               prints { bytes, sha256 } of what it gets
//   echo-server PORT                    UDP echo; prints "ready"
//   flows ADDRESS PORT COUNT            one UDP datagram on each of COUNT sockets, waits for the echo; prints { sent, answered }
import { createCipheriv, createHash } from "node:crypto";
import dgram from "node:dgram";
import net from "node:net";

const [role, ...args] = process.argv.slice(2);

/** Bytes that no compression or repetition could fake: AES-CTR of zeros under a fixed key. */
function* pseudoRandom(bytes) {
  const cipher = createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16, 9));
  const zeros = Buffer.alloc(1 << 16);
  for (let left = bytes; left > 0; left -= zeros.length)
    yield cipher.update(zeros.subarray(0, Math.min(left, zeros.length)));
}

const roles = {
  "download-server"(port, bytes) {
    const server = net.createServer(async (socket) => {
      socket.on("error", () => {});
      for (const chunk of pseudoRandom(Number(bytes))) {
        if (!socket.write(chunk)) await new Promise((resolve) => socket.once("drain", resolve));
      }
      socket.end();
    });
    server.listen(Number(port), () => console.log("ready"));
  },
  hash(bytes) {
    const hash = createHash("sha256");
    for (const chunk of pseudoRandom(Number(bytes))) hash.update(chunk);
    console.log(JSON.stringify({ bytes: Number(bytes), sha256: hash.digest("hex") }));
  },
  download(address, port) {
    const hash = createHash("sha256");
    let bytes = 0;
    const socket = net.connect(Number(port), address);
    socket.setTimeout(20_000, () => socket.destroy(new Error("no data for 20 s")));
    socket.on("data", (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    socket.on("end", () => {
      console.log(JSON.stringify({ bytes, sha256: hash.digest("hex") }));
      process.exit(0);
    });
    socket.on("error", (error) => {
      console.error(error.message);
      process.exit(1);
    });
  },
  "echo-server"(port) {
    const socket = dgram.createSocket("udp4");
    socket.on("message", (message, from) => socket.send(message, from.port, from.address));
    socket.bind(Number(port), () => console.log("ready"));
  },
  async flows(address, port, count) {
    const answers = await Promise.all(
      Array.from({ length: Number(count) }, (_, i) => {
        const socket = dgram.createSocket("udp4");
        return new Promise((resolve) => {
          const finish = (answered) => {
            socket.close();
            resolve(answered);
          };
          const timer = setTimeout(() => finish(false), 5000);
          socket.on("message", (message) => {
            clearTimeout(timer);
            finish(message.toString() === `flow ${i}`);
          });
          socket.send(`flow ${i}`, Number(port), address);
        });
      }),
    );
    console.log(JSON.stringify({ sent: answers.length, answered: answers.filter(Boolean).length }));
  },
};

if (roles[role] === undefined) {
  console.error(`unknown role ${role}`);
  process.exit(2);
}
await roles[role](...args);
