"""The other end of a tunnel or a VLAN made by scapy, where the kernel has no such device: a TUN or TAP device whose packets it
wraps and unwraps. It says what is wrong with one that comes (lengths, checksums), and so do the tests.
  scapy_device.py NAME vlan DEVICE ID [PRIORITY]   a TAP, its frames tagged on DEVICE
  scapy_device.py NAME ipip LOCAL REMOTE           a TUN, its packets in IPv4 or IPv6
  scapy_device.py NAME gre LOCAL REMOTE KEY        a TUN, its packets in GRE with a key, sequence numbers and a checksum
As root, in a network namespace of its own. Says "ready" when the device is there, "wrong: WHY" of what it drops."""
import fcntl, os, select, socket, struct, sys

from scapy.all import GRE, IP, Dot1Q, Ether, IPv6, conf, raw

conf.verb = 0
TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454CA, 1, 2, 0x1000


def open_device(name, flags):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags | IFF_NO_PI))
    return fd


def wrong(why):
    print("wrong:", why, flush=True)


def same(packet, kind):
    """Is it what scapy would make of its own fields: lengths and checksums, of the outer headers too."""
    again = kind(raw(packet))
    layer = again
    while layer and layer.name in ("IP", "IPv6", "GRE", "UDP", "TCP", "ICMP"):
        for field in ("len", "plen", "chksum"):
            if field in layer.fields and not (layer.name == "UDP" and layer.fields[field] == 0):
                delattr(layer, field)
        # The checksum of a datagram is not that of its first fragment.
        if layer.name == "IP" and (layer.frag != 0 or layer.flags.MF):
            break
        layer = layer.payload
    if raw(again) == raw(packet):
        return True
    wrong(raw(packet).hex())
    return False


def inner_kind(data):
    return IP if data[0] >> 4 == 4 else IPv6


class Vlan:
    flags = IFF_TAP

    def __init__(self, device, vid, priority="0"):
        self.vid, self.priority = int(vid), int(priority)
        self.socket = conf.L2socket(iface=device)

    def unwrap(self):
        frame = self.socket.recv(65536)
        if frame is None or Dot1Q not in frame or frame[Dot1Q].vlan != self.vid:
            return None
        tag = frame[Dot1Q]
        return raw(Ether(src=frame.src, dst=frame.dst, type=tag.type)) + raw(tag.payload)

    def wrap(self, data):
        ether = Ether(data)
        tag = Dot1Q(vlan=self.vid, prio=self.priority, type=ether.type)
        self.socket.send(Ether(src=ether.src, dst=ether.dst) / tag / raw(ether.payload))


class Tunnel:
    """In IPv4, or in IPv6; a raw socket gives IPv4 with its header and IPv6 without."""

    flags = IFF_TUN

    def __init__(self, local, remote):
        self.local, self.remote, self.is6 = local, remote, ":" in local
        family = socket.AF_INET6 if self.is6 else socket.AF_INET
        self.sockets = [socket.socket(family, socket.SOCK_RAW, number) for number in self.protocols]
        for one in self.sockets:
            one.bind((local, 0))

    def outer(self, protocol):
        if self.is6:
            return IPv6(src=self.local, dst=self.remote, nh=protocol)
        return IP(src=self.local, dst=self.remote, proto=protocol, flags="DF")

    def received(self, number):
        """The outer packet as scapy sees it."""
        data, source = self.sockets[number].recvfrom(65536)
        if source[0] != self.remote:
            return None
        if self.is6:
            return self.outer(self.protocols[number]).__class__(
                raw(IPv6(src=self.remote, dst=self.local, nh=self.protocols[number], plen=len(data))) + data
            )
        packet = IP(data)
        return packet if same(packet, IP) else None

    def send(self, packet, protocol):
        number = self.protocols.index(protocol)
        if self.is6:
            self.sockets[number].sendto(raw(packet)[40:], (self.remote, 0))
        else:
            sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            sender.sendto(raw(packet), (self.remote, 0))
            sender.close()


class Ipip(Tunnel):
    protocols = (4, 41)

    def unwrap_from(self, number):
        packet = self.received(number)
        if packet is None:
            return None
        data = raw(packet.payload)
        return data if same(inner_kind(data)(data), inner_kind(data)) else None

    def wrap(self, data):
        protocol = 4 if data[0] >> 4 == 4 else 41
        self.send(self.outer(protocol) / inner_kind(data)(data), protocol)


class Gre(Tunnel):
    protocols = (47,)

    def __init__(self, local, remote, key):
        super().__init__(local, remote)
        self.key, self.sequence, self.expected = int(key), 0, 0

    def unwrap_from(self, number):
        packet = self.received(number)
        if packet is None or GRE not in packet:
            return None
        gre = packet[GRE]
        if gre.key != self.key or not gre.chksum_present or not gre.seqnum_present:
            return wrong("key, checksum or sequence")
        if gre.seqence_number < self.expected:
            return wrong("order %d" % gre.seqence_number)
        self.expected = gre.seqence_number + 1
        data = raw(gre.payload)
        return data if same(inner_kind(data)(data), inner_kind(data)) else None

    def wrap(self, data):
        proto = 0x0800 if data[0] >> 4 == 4 else 0x86DD
        gre = GRE(key_present=1, key=self.key, seqnum_present=1, seqence_number=self.sequence, chksum_present=1, proto=proto)
        self.sequence += 1
        self.send(self.outer(47) / gre / data, 47)


name, kind, *words = sys.argv[1:]
end = {"vlan": Vlan, "ipip": Ipip, "gre": Gre}[kind](*words)
device = open_device(name, end.flags)
sources = {one.fileno(): i for i, one in enumerate(getattr(end, "sockets", [getattr(end, "socket", None)]))}
print("ready", flush=True)
while True:
    for fd in select.select([device, *sources], [], [])[0]:
        try:
            if fd == device:
                end.wrap(os.read(device, 65536))
            else:
                data = end.unwrap() if kind == "vlan" else end.unwrap_from(sources[fd])
                if data:
                    os.write(device, data)
        except OSError as error:
            # A device that is not up yet refuses packets; one that is gone was a pipeline's that has ended.
            if error.errno == 100:
                sys.exit()
            if error.errno != 5:
                raise
