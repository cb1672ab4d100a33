// Byte layouts of what lies in the pipeline's shared memory: the twin of src/batches/layout.ts, where they are drawn.
// A test compares the two, so names are the same: DESCRIPTOR.DATA there is DESCRIPTOR_DATA here.

export const DESCRIPTOR_DATA: usize = 0;
export const DESCRIPTOR_LENGTH: usize = 4;
export const DESCRIPTOR_L3: usize = 8;
export const DESCRIPTOR_L4: usize = 10;
export const DESCRIPTOR_PAYLOAD: usize = 12;
export const DESCRIPTOR_PROTOCOL: usize = 14;
export const DESCRIPTOR_OUTPUT: usize = 15;
export const DESCRIPTOR_FLAGS: usize = 16;
export const DESCRIPTOR_RESERVED: usize = 20;
export const DESCRIPTOR_DEVICE: usize = 24;
export const DESCRIPTOR_QUEUE: usize = 25;
export const DESCRIPTOR_ERROR: usize = 26;
export const DESCRIPTOR_MARK: usize = 28;
export const DESCRIPTOR_VNET_FLAGS: usize = 32;
export const DESCRIPTOR_VNET_GSO_TYPE: usize = 33;
export const DESCRIPTOR_VNET_HDR_LEN: usize = 34;
export const DESCRIPTOR_VNET_GSO_SIZE: usize = 36;
export const DESCRIPTOR_VNET_CSUM_START: usize = 38;
export const DESCRIPTOR_VNET_CSUM_OFFSET: usize = 40;
export const DESCRIPTOR_VNET_NUM_BUFFERS: usize = 42;
export const DESCRIPTOR_DATAGRAMS: usize = 44;
export const DESCRIPTOR_TIMESTAMP: usize = 48;
export const DESCRIPTOR_SLOT: usize = 56;
export const DESCRIPTOR_CAPACITY: usize = 60;
export const DESCRIPTOR_SIZE: usize = 64;

export const PACKET_FLAG_IPV4: u32 = 1 << 0;
export const PACKET_FLAG_IPV6: u32 = 1 << 1;
export const PACKET_FLAG_FRAGMENT: u32 = 1 << 2;
export const PACKET_FLAG_FIRST_FRAGMENT: u32 = 1 << 3;
export const PACKET_FLAG_OPTIONS: u32 = 1 << 4;
export const PACKET_FLAG_MALFORMED: u32 = 1 << 5;
export const PACKET_FLAG_CSUM_PARTIAL: u32 = 1 << 6;
export const PACKET_FLAG_CSUM_VALID: u32 = 1 << 7;
export const PACKET_FLAG_NOT_IP: u32 = 1 << 8;
export const PACKET_FLAG_VLAN: u32 = 1 << 9;
export const PACKET_FLAG_BROADCAST: u32 = 1 << 10;
export const PACKET_FLAG_MULTICAST: u32 = 1 << 11;

// Indices into MALFORMED of src/batches/layout.ts.
export const MALFORMED_NONE: u16 = 0;
export const MALFORMED_TRUNCATED_ETHERNET: u16 = 1;
export const MALFORMED_BAD_VERSION: u16 = 2;
export const MALFORMED_TRUNCATED_IPV4: u16 = 3;
export const MALFORMED_BAD_IPV4_HEADER_LENGTH: u16 = 4;
export const MALFORMED_BAD_IPV4_TOTAL_LENGTH: u16 = 5;
export const MALFORMED_TRUNCATED_IPV6: u16 = 6;
export const MALFORMED_BAD_IPV6_PAYLOAD_LENGTH: u16 = 7;
export const MALFORMED_TRUNCATED_EXTENSION_HEADER: u16 = 8;
export const MALFORMED_TOO_MANY_EXTENSION_HEADERS: u16 = 9;
export const MALFORMED_BAD_FRAGMENT: u16 = 10;
export const MALFORMED_TRUNCATED_TCP: u16 = 11;
export const MALFORMED_BAD_TCP_DATA_OFFSET: u16 = 12;
export const MALFORMED_TRUNCATED_UDP: u16 = 13;
export const MALFORMED_BAD_UDP_LENGTH: u16 = 14;
export const MALFORMED_TRUNCATED_ICMP: u16 = 15;

export const BATCH_COUNT: usize = 0;
export const BATCH_CAPACITY: usize = 4;
export const BATCH_ENTRIES: usize = 16;

export const CONTEXT_WORKER: usize = 0;
export const CONTEXT_WORKERS: usize = 4;
export const CONTEXT_NOW: usize = 8;
export const CONTEXT_WALL_CLOCK: usize = 16;
export const CONTEXT_RANDOM: usize = 24;
export const CONTEXT_PARAMS: usize = 32;
export const CONTEXT_WORKER_STATE: usize = 36;
export const CONTEXT_WORKER_STATE_BYTES: usize = 40;
export const CONTEXT_SHARED_STATE: usize = 44;
export const CONTEXT_SHARED_STATE_BYTES: usize = 48;
export const CONTEXT_COUNTERS: usize = 52;
export const CONTEXT_OUTPUTS: usize = 56;
export const CONTEXT_OUTPUT_COUNTERS: usize = 60;
export const CONTEXT_OUTPUT_BATCHES: usize = 64;
export const CONTEXT_FREE: usize = 68;
export const CONTEXT_DEVICES: usize = 72;
export const CONTEXT_DEVICE_COUNT: usize = 76;
export const CONTEXT_BAD_OUTPUTS: usize = 80;
export const CONTEXT_DUE: usize = 88;
export const CONTEXT_EMITTED: usize = 96;
export const CONTEXT_HOLDERS: usize = 100;
export const CONTEXT_DESCRIPTORS: usize = 104;
export const CONTEXT_HOLDER: usize = 108;
export const CONTEXT_STEP: usize = 112;
export const CONTEXT_STEP_TABLES: usize = 116;
export const CONTEXT_HOLD_LIMIT: usize = 120;
export const CONTEXT_HELD: usize = 124;
export const CONTEXT_FRESH: usize = 128;
export const CONTEXT_LOG: usize = 140;
export const CONTEXT_TABLES: usize = 144;
export const CONTEXT_SIZE: usize = 192;

export const DEVICE_INFO_MTU: usize = 0;
export const DEVICE_INFO_LAYER: usize = 4;
export const DEVICE_INFO_OFFLOADS: usize = 8;
export const DEVICE_INFO_VNET_HEADER: usize = 12;
export const DEVICE_INFO_SIZE: usize = 16;

export const OFFLOAD_CSUM: u32 = 1 << 0;
export const OFFLOAD_TSO4: u32 = 1 << 1;
export const OFFLOAD_TSO6: u32 = 1 << 2;
export const OFFLOAD_TSO_ECN: u32 = 1 << 3;
export const OFFLOAD_USO4: u32 = 1 << 5;
export const OFFLOAD_USO6: u32 = 1 << 6;

export const HEADROOM: u32 = 128;
export const VNET_HEADER: u32 = 12;
export const BATCH_PACKETS: u32 = 64;
export const OUTPUT_NEXT: u8 = 0;
export const OUTPUT_DROP: u8 = 1;
export const OUTPUT_HOLD: u8 = 254;
export const OUTPUT_FINISH: u8 = 255;
export const COALESCE_FLOWS: u32 = 64;
export const ABI_VERSION: i32 = 1;
