# What nft lets pass: packets are written into one of two TUN devices of this network namespace, which the kernel routes
# between, and looked for at the other. Standard input: { ruleset, steps: [{ inside, hex, wait }] }; output: a list of
# booleans. After each packet goes one that the rules always let pass, so that nothing has to be waited for.
import fcntl, json, os, select, socket, struct, subprocess, sys, time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
SENTINEL = 65000


def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def sentinel(source, destination, number):
    udp = struct.pack("!HHHHI", SENTINEL, SENTINEL, 12, 0, number)
    head = lambda s: struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 32, 0, 0, 64, 17, s, socket.inet_aton(source), socket.inet_aton(destination)
    )
    return head(checksum(head(0))) + udp


def body(packet):
    """What forwarding leaves as it is: all but hop count and header checksum."""
    if packet[0] >> 4 == 4:
        return packet[:8] + packet[9:10] + packet[12:]
    return packet[:7] + packet[8:]


task = json.load(sys.stdin)
fds = {True: tun("inside"), False: tun("outside")}
for setting in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
    open("/proc/sys/net/" + setting.replace(".", "/"), "w").write("1")
for device, addresses in (
    ("inside", ("10.255.255.1/8", "2001:db8:1:ffff::1/48")),
    ("outside", ("192.0.2.254/24", "198.51.100.254/24", "2001:db8:2:ffff::1/48")),
):
    open("/proc/sys/net/ipv4/conf/%s/rp_filter" % device, "w").write("0")
    open("/proc/sys/net/ipv6/conf/%s/accept_dad" % device, "w").write("0")
    open("/proc/sys/net/ipv6/conf/%s/router_solicitations" % device, "w").write("0")
    subprocess.run(["ip", "link", "set", device, "up"], check=True)
    for address in addresses:
        subprocess.run(["ip", "address", "add", address, "dev", device], check=True)
open("/proc/sys/net/ipv4/conf/all/rp_filter", "w").write("0")
subprocess.run(["nft", "-f", "-"], input=task["ruleset"], text=True, check=True)

# It is there once a rule has asked for connections.
loose = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose"
if os.path.exists(loose):
    open(loose, "w").write("1" if task["loose"] else "0")

verdicts = []
for number, step in enumerate(task["steps"]):
    if step.get("wait"):
        time.sleep(step["wait"])
    inside = step["inside"]
    packet = bytes.fromhex(step["hex"])
    ends = ("10.0.9.9", "192.0.2.99") if inside else ("192.0.2.99", "10.0.9.9")
    mark = sentinel(*ends, number)
    os.write(fds[inside], packet)
    os.write(fds[inside], mark)
    passed, deadline = False, time.monotonic() + 5
    while True:
        if not select.select([fds[not inside]], [], [], max(0, deadline - time.monotonic()))[0]:
            sys.exit("packet %d: what always passes did not" % number)
        got = body(os.read(fds[not inside], 65535))
        if got == body(mark):
            break
        passed = passed or got == body(packet)
    verdicts.append(passed)
json.dump(verdicts, sys.stdout)
