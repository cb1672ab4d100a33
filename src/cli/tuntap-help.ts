/** The grammar of `pktflow tuntap`, apart from what carries it out, which loads the kernel's interfaces. */
export const TUNTAP_HELP = `Usage: pktflow tuntap { add | del | show | list | help } [ [ dev ] NAME ]
       [ mode { tun | tap } ] [ user USER ] [ group GROUP ]
       [ pi ] [ vnet_hdr ] [ multi_queue ]

  add   makes a persistent device; without a NAME, the kernel chooses one
  del   removes one
  show  lists devices, or the one called NAME (also: list); without any word, all
  help  this text

USER and GROUP are names or numbers: who may open the device without
CAP_NET_ADMIN. Words may be shortened, as with ip.
`;
