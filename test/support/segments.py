"""UDP datagrams sent many at a time, with UDP_SEGMENT, for tests of super-packets: run inside a namespace.
  segments.py receive PORT COUNT            prints "ready", then { datagrams, sha256 } once COUNT came or 3 s went by without
  segments.py send ADDRESS PORT SIZE BYTES TIMES
                                            TIMES sends of BYTES bytes cut into SIZE; prints { datagrams, sha256 }
Hashes are over every datagram's length and bytes, in order."""
import hashlib, json, random, socket, struct, sys, time

SOL_UDP, UDP_SEGMENT = 17, 103


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def add(digest, data):
    digest.update(struct.pack("!H", len(data)))
    digest.update(data)


def receive(port, count):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    s.bind(("::", int(port)))
    s.settimeout(3)
    print("ready", flush=True)
    digest, seen = hashlib.sha256(), 0
    try:
        while seen < int(count):
            add(digest, s.recv(65536))
            seen += 1
    except TimeoutError:
        pass
    print(json.dumps({"datagrams": seen, "sha256": digest.hexdigest()}))


def send(address, port, size, length, times):
    size, length = int(size), int(length)
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    if size < length:
        s.setsockopt(SOL_UDP, UDP_SEGMENT, size)
    s.connect((address, int(port)))
    bytes_of = random.Random(1).randbytes
    digest, sent = hashlib.sha256(), 0
    for i in range(int(times)):
        data = bytes_of(length)
        s.send(data)
        for at in range(0, length, size):
            add(digest, data[at : at + size])
            sent += 1
        if i % 8 == 7:
            time.sleep(0.001)
    print(json.dumps({"datagrams": sent, "sha256": digest.hexdigest()}))


{"receive": receive, "send": send}[sys.argv[1]](*sys.argv[2:])
