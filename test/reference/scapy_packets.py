"""Packets as scapy makes them, with where scapy finds their headers: JSON on standard output, one array.

Each: name, layer (2 or 3), hex, broken (the same with every checksum set to 1), and offsets from the first byte
of the IP header, the transport header and its data (0: there is none), the protocol, and what kind of fragment it is.
"""
import itertools
import json
import logging
import sys

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.all import (  # noqa: E402
    ARP, Dot1AD, Dot1Q, Ether, ICMP, IP, IPOption_RR, IPOption_Timestamp, IPv6, IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, ICMPv6DestUnreach, ICMPv6EchoReply,
    ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6PacketTooBig, PadN, Raw, TCP, UDP, fragment, fragment6,
)

V4 = dict(src="10.1.2.3", dst="198.51.100.7")
V6 = dict(src="2001:db8::10", dst="2001:db8:1::20")

NETWORKS = {
    "IPv4": IP(**V4),
    "IPv4, record route": IP(**V4, options=[IPOption_RR(routers=["0.0.0.0", "0.0.0.0"])]),
    "IPv4, timestamp": IP(**V4, options=[IPOption_Timestamp()]),
    "IPv4, DF and a TOS": IP(**V4, flags="DF", tos=0xB8, id=4711, ttl=3),
    "IPv6": IPv6(**V6),
    "IPv6, flow label": IPv6(**V6, fl=0xABCDE, tc=0xB8),
    "IPv6, hop-by-hop": IPv6(**V6) / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 12)]),
    "IPv6, routing": IPv6(**V6) / IPv6ExtHdrRouting(addresses=[V6["dst"]], segleft=0),
    "IPv6, all": IPv6(**V6)
    / IPv6ExtHdrHopByHop()
    / IPv6ExtHdrDestOpt()
    / IPv6ExtHdrRouting(addresses=[V6["dst"]], segleft=0)
    / IPv6ExtHdrFragment()
    / IPv6ExtHdrDestOpt(),
}
OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]
BOTH = {
    "TCP": TCP(sport=40000, dport=443, flags="S"),
    "TCP, options": TCP(sport=40000, dport=443, flags="SA", seq=1, ack=2, options=OPTIONS),
    "UDP": UDP(sport=5353, dport=53),
}
TRANSPORTS = {
    4: {
        **BOTH,
        "echo": ICMP(type=8, id=9, seq=10),
        "timestamp": ICMP(type=13),
        "unreachable": ICMP(type=3, code=4, nexthopmtu=1280) / IP(**V4) / UDP(),
    },
    6: {
        **BOTH,
        "echo": ICMPv6EchoRequest(id=9, seq=10),
        "echo reply": ICMPv6EchoReply(id=9, seq=10),
        "neighbour": ICMPv6ND_NS(tgt="fe80::1"),
        "too big": ICMPv6PacketTooBig(mtu=1280) / IPv6(**V6) / UDP(),
        "unreachable": ICMPv6DestUnreach() / IPv6(**V6) / TCP(),
    },
}
PAYLOADS = [0, 1, 33, 1400]
LINKS = {
    None: None,
    "Ethernet": Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02"),
    "802.1Q": Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / Dot1Q(vlan=100, prio=3),
    "802.1ad": Ether(src="02:00:00:00:00:01", dst="33:33:00:00:00:01") / Dot1AD(vlan=5) / Dot1Q(vlan=6),
}


def transport_of(packet, version):
    """The first layer after IP and its extension headers."""
    layer = packet[IP if version == 4 else IPv6]
    skipped = ("IP", "IPv6", "IPv6ExtHdrHopByHop", "IPv6ExtHdrDestOpt", "IPv6ExtHdrRouting", "IPv6ExtHdrFragment")
    while layer.name != "NoPayload":
        if type(layer).__name__ not in skipped:
            return layer
        layer = layer.payload
    return None


def header_length(layer):
    if isinstance(layer, TCP):
        return layer.dataofs * 4
    return 8


def describe(name, packet, link, version):
    if link is not None:
        packet = link.copy() / packet
    raw = bytes(packet)
    again = (Ether if link is not None else (IP if version == 4 else IPv6))(raw)
    ip = again[IP if version == 4 else IPv6]
    record = {"name": name, "layer": 3 if link is None else 2, "hex": raw.hex(), "version": version}
    record["l3"] = len(raw) - len(ip.original)
    later = False
    first = False
    if version == 4:
        later = ip.frag > 0
        first = ip.frag == 0 and ip.flags.MF
    elif IPv6ExtHdrFragment in again:
        header = again[IPv6ExtHdrFragment]
        later = header.offset > 0
        first = header.offset == 0 and header.m == 1
    record["fragment"] = "later" if later else "first" if first else None
    if later:
        last = ip if version == 4 else again[IPv6ExtHdrFragment]
        record["protocol"] = last.proto if version == 4 else last.nh
        record["l4"] = 0
        record["payload"] = len(raw) - len(last.payload.original if last.payload.original else bytes(last.payload))
    else:
        layer = transport_of(again, version)
        below = layer.underlayer
        record["protocol"] = below.proto if version == 4 else below.nh
        record["l4"] = len(raw) - len(layer.original)
        record["payload"] = record["l4"] + header_length(layer)
    record["broken"] = broken(packet).hex()
    return record


def broken(packet):
    """Checksums of the outer headers set to 1, which is right for none of these packets."""
    copy = packet.copy()
    layer = copy
    while layer.name != "NoPayload":
        for field in ("chksum", "cksum"):
            if field in [known.name for known in layer.fields_desc]:
                setattr(layer, field, 1)
        if isinstance(layer, (TCP, UDP, ICMP)) or "ICMPv6" in type(layer).__name__:
            break
        layer = layer.payload
    return bytes(copy)


def main():
    records = []
    for (network, ip), size, (link_name, link) in itertools.product(NETWORKS.items(), PAYLOADS, LINKS.items()):
        if link is not None and size != PAYLOADS[1]:
            continue
        version = 4 if isinstance(ip, IP) else 6
        for transport, header in TRANSPORTS[version].items():
            packet = ip.copy() / header.copy() / Raw(bytes(i & 255 for i in range(size)))
            records.append(describe(f"{link_name or 'no link'}: {network}: {transport}, {size} B", packet, link, version))
    big = Raw(b"x" * 3000)
    for link_name, link in LINKS.items():
        for i, piece in enumerate(fragment(IP(**V4, id=7) / UDP(sport=1, dport=2) / big, 1000)):
            records.append(describe(f"{link_name}: IPv4 fragment {i}", piece, link, 4))
        whole = IPv6(**V6) / IPv6ExtHdrFragment(id=9) / UDP(sport=1, dport=2) / big
        for i, piece in enumerate(fragment6(whole, 1280)):
            records.append(describe(f"{link_name}: IPv6 fragment {i}", piece, link, 6))
    arp = bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.0.0.1"))
    records.append({"name": "ARP", "layer": 2, "hex": arp.hex(), "version": 0, "l3": 0, "l4": 0, "payload": 14,
                    "protocol": 0, "fragment": None, "broken": arp.hex()})
    json.dump(records, sys.stdout)


main()
