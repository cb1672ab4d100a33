import { checkPacketLayout } from "../abi/packet";

checkPacketLayout();
