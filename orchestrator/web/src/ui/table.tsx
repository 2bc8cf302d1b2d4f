import type { ComponentChildren } from "preact";

export interface Column<T> {
  /** The head's words; also before each cell on a phone, where rows are cards. */
  name: string;
  cell: (row: T) => ComponentChildren;
  isNumber?: boolean;
  /** Its share of a wide table, in percent. Where columns have one, long words can't squeeze the others. */
  share?: number;
}

/** *caption* tells those who hear it what it is a table of. */
export function Table<T>(props: {
  caption: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  keyOf: (row: T) => string;
  empty: ComponentChildren;
}) {
  if (props.rows.length === 0) return <p class="empty">{props.empty}</p>;
  return (
    <table class={props.columns.some((column) => column.share !== undefined) ? "rows shared" : "rows"}>
      <caption class="hidden">{props.caption}</caption>
      <colgroup>
        {props.columns.map((column) => (
          <col key={column.name} style={column.share === undefined ? {} : { width: `${column.share}%` }} />
        ))}
      </colgroup>
      <thead>
        <tr>
          {props.columns.map((column) => (
            <th key={column.name} scope="col" class={column.isNumber ? "number" : undefined}>
              {column.name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {props.rows.map((row) => (
          <tr key={props.keyOf(row)}>
            {props.columns.map((column) => (
              <td key={column.name} data-name={column.name} class={column.isNumber ? "number" : undefined}>
                <div>{column.cell(row)}</div>
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
