// Tables for the report: rows of a key and of numbers, declared under `tables` in filter.yaml and kept in the worker's state.
// The host reads them at any time, adds up what workers have of the same key, and shows the largest. A row's key may change
// while it is read, between begin() and end(); its numbers at any time. src/batches/table.ts draws it.
//
// Example: tables: { hosts: { doc: Who sent, show: 10, keys: { from: { type: ipv4 } }, values: { packets: How many } } }
//
//   export function workerStateSize(at: usize): usize { return Table.bytes(100, HostsRow.rowBytes); }
//   export function init(): void { Table.open(Tables.hosts, workerState(), 100, HostsRow.rowBytes); }
//   ...
//   const row = Table.at(workerState()).add();
//   store<u32>(row, bswap<u32>(Ipv4.of(p).source), HostsRow.from);
//   store<u64>(row, 1, HostsRow.packets);
//   Table.end(row);
//
// And what it has so far:
//
//   const table = Table.at(workerState());
//   for (let i: u32 = 0; i < table.used; i++) p.mark += load<u32>(table.row(i), HostsRow.packets);
//   const end = table.rowEnd(table.row(0));

import { contextAddress } from "../abi/context";
import { CONTEXT_TABLES } from "../abi/layout";

// The twin of src/batches/table.ts.
const ROWS: usize = 16;
const COLUMNS: usize = 8;

@unmanaged
export class Table {
  private capacity: u32;
  private usedRows: u32;
  private rowBytes: u32;

  /**
   * Bytes of state for a table, a multiple of 8. Never fails.
   * @param rows how many at most
   * @param rowBytes as the generated "./params" says: HostsRow.rowBytes
   */
  static bytes(rows: u32, rowBytes: u32): usize {
    return ROWS + (<usize>rows + 1) * (<usize>rowBytes + COLUMNS);
  }

  /**
   * A table that was opened: not checked.
   * @param address that open() got
   */
  @inline static at(address: usize): Table {
    return changetype<Table>(address);
  }

  /**
   * Makes an empty table, which the report has from then on. In init(). Needs bytes(rows, rowBytes) bytes.
   * @param index its number: Tables.hosts
   * @param address in the worker's state, a multiple of 8
   * @param rows how many at most
   * @param rowBytes as for bytes()
   */
  static open(index: u32, address: usize, rows: u32, rowBytes: u32): Table {
    memory.fill(address, 0, Table.bytes(rows, rowBytes));
    const table = changetype<Table>(address);
    table.capacity = rows;
    table.rowBytes = rowBytes + <u32>COLUMNS;
    store<u32>(contextAddress + CONTEXT_TABLES + ((<usize>index) << 2), <u32>address);
    return table;
  }

  /** How many rows there are. */
  @inline get used(): u32 {
    return this.usedRows;
  }

  /** There is no room for another row. */
  @inline get isFull(): bool {
    return this.usedRows >= this.capacity;
  }

  /**
   * A row's columns, for load and store at HostsRow.NAME.
   * @param index from 0, below `used`: not checked
   */
  @inline row(index: u32): usize {
    return changetype<usize>(this) + ROWS + (<usize>index + 1) * <usize>this.rowBytes + COLUMNS;
  }

  /** Columns of what a key may have at most that has no row here. */
  @inline get others(): usize {
    return changetype<usize>(this) + ROWS + COLUMNS;
  }

  /** A new row of zeros, which is begun: write it, and end() it. Needs that the table is not full (isFull). */
  add(): usize {
    const row = this.row(this.usedRows);
    Table.begin(row);
    atomic.store<u32>(changetype<usize>(this), this.usedRows + 1, offsetof<Table>("usedRows"));
    return row;
  }

  /**
   * Address just after a row's columns. Never fails.
   * @param row address of its columns
   */
  @inline rowEnd(row: usize): usize {
    return row + <usize>this.rowBytes - COLUMNS;
  }

  /**
   * Before a row's key is changed. Needs that it is not begun.
   * @param row address of its columns
   */
  static begin(row: usize): void {
    atomic.store<u32>(row - COLUMNS, load<u32>(row - COLUMNS) + 1);
  }

  /**
   * When it has been, and after add(). Needs that it is begun.
   * @param row address of its columns
   */
  static end(row: usize): void {
    atomic.store<u32>(row - COLUMNS, load<u32>(row - COLUMNS) + 1);
  }
}
