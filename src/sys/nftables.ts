/**
 * nf_tables over nfnetlink, as far as it takes to drop packets as they come in from a device, without nft(8).
 * Every number in it is in network order. Headers: linux/netfilter/nf_tables.h.
 */
import { Message, type Netlink } from "./netlink.ts";

const NFPROTO_NETDEV = 5;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWTABLE = 0;
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_NEWRULE = 6;
const NLM_F_APPEND = 0x800;
const NLM_F_CREATE = 0x400;

const NFTA_TABLE_NAME = 1;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NFTA_HOOK_PRIORITY = 2;
const NFTA_HOOK_DEV = 3;
const NF_NETDEV_INGRESS = 0;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_EXPRESSIONS = 4;
const NFTA_LIST_ELEM = 1;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;

const NFTA_META_DREG = 1;
const NFTA_META_KEY = 2;
const NFT_META_L4PROTO = 16;
const NFTA_PAYLOAD_DREG = 1;
const NFTA_PAYLOAD_BASE = 2;
const NFTA_PAYLOAD_OFFSET = 3;
const NFTA_PAYLOAD_LEN = 4;
const NFT_PAYLOAD_TRANSPORT_HEADER = 2;
const NFTA_CMP_SREG = 1;
const NFTA_CMP_OP = 2;
const NFTA_CMP_DATA = 3;
const NFT_CMP_EQ = 0;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_IMMEDIATE_DREG = 1;
const NFTA_IMMEDIATE_DATA = 2;
const NFT_REG_VERDICT = 0;
const NFT_REG_1 = 1;
const NF_DROP = 0;

const IPPROTO_UDP = 17;
const UDP_HEADER = 8;
const TABLE = "pktflow";
const CHAIN = "sink";

/**
 * Drops UDP datagrams whose payload begins with these four octets at the ingress hook of a device, before IP sees them.
 * @param netlink of NETLINK_NETFILTER, in the device's namespace
 * @throws SystemError, also where the kernel has no nf_tables
 */
export function dropUdpAtIngress(netlink: Netlink, device: string, octets: readonly number[]): void {
  const table = message(NFT_MSG_NEWTABLE).string(NFTA_TABLE_NAME, TABLE);
  const chain = message(NFT_MSG_NEWCHAIN)
    .string(NFTA_CHAIN_TABLE, TABLE)
    .string(NFTA_CHAIN_NAME, CHAIN)
    .nested(NFTA_CHAIN_HOOK, (hook) =>
      hook
        .octets(NFTA_HOOK_HOOKNUM, be32(NF_NETDEV_INGRESS))
        .octets(NFTA_HOOK_PRIORITY, be32(0))
        .string(NFTA_HOOK_DEV, device),
    )
    .string(NFTA_CHAIN_TYPE, "filter");
  const rule = message(NFT_MSG_NEWRULE, NLM_F_APPEND)
    .string(NFTA_RULE_TABLE, TABLE)
    .string(NFTA_RULE_CHAIN, CHAIN)
    .nested(NFTA_RULE_EXPRESSIONS, (list) => {
      expression(list, "meta", (data) =>
        data.octets(NFTA_META_DREG, be32(NFT_REG_1)).octets(NFTA_META_KEY, be32(NFT_META_L4PROTO)),
      );
      equals(list, [IPPROTO_UDP]);
      expression(list, "payload", (data) =>
        data
          .octets(NFTA_PAYLOAD_DREG, be32(NFT_REG_1))
          .octets(NFTA_PAYLOAD_BASE, be32(NFT_PAYLOAD_TRANSPORT_HEADER))
          .octets(NFTA_PAYLOAD_OFFSET, be32(UDP_HEADER))
          .octets(NFTA_PAYLOAD_LEN, be32(octets.length)),
      );
      equals(list, octets);
      expression(list, "immediate", (data) =>
        data
          .octets(NFTA_IMMEDIATE_DREG, be32(NFT_REG_VERDICT))
          .nested(NFTA_IMMEDIATE_DATA, (value) =>
            value.nested(NFTA_DATA_VERDICT, (verdict) => verdict.octets(NFTA_VERDICT_CODE, be32(NF_DROP))),
          ),
      );
    });
  const envelope = { begin: edge(NFNL_MSG_BATCH_BEGIN), end: edge(NFNL_MSG_BATCH_END) };
  netlink.batch([table, chain, rule], envelope, { call: "NFT_MSG_NEWRULE", target: `ingress of ${device}` });
}

function expression(list: Message, name: string, fill: (data: Message) => void): void {
  list.nested(NFTA_LIST_ELEM, (element) => element.string(NFTA_EXPR_NAME, name).nested(NFTA_EXPR_DATA, fill));
}

function equals(list: Message, octets: readonly number[]): void {
  expression(list, "cmp", (data) =>
    data
      .octets(NFTA_CMP_SREG, be32(NFT_REG_1))
      .octets(NFTA_CMP_OP, be32(NFT_CMP_EQ))
      .nested(NFTA_CMP_DATA, (value) => value.octets(NFTA_DATA_VALUE, octets)),
  );
}

/** struct nfgenmsg: u8 family, u8 version, be16 resource. */
function message(type: number, flags = 0): Message {
  return new Message((NFNL_SUBSYS_NFTABLES << 8) | type, NLM_F_CREATE | flags, [
    [1, NFPROTO_NETDEV],
    [1, 0],
    [2, 0],
  ]);
}

function edge(type: number): Message {
  return new Message(type, 0, [
    [1, 0],
    [1, 0],
    [2, NFNL_SUBSYS_NFTABLES << 8],
  ]);
}

function be32(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}
