import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { clock } from "./time";

/** Seconds since the epoch, and the value there; null where there is none. */
export type Point = readonly [number, number | null];

export interface Line {
  name: string;
  points: readonly Point[];
  /** A custom property of the style sheet. */
  colour: string;
}

export interface Bound {
  name: string;
  at: number;
  colour: string;
}

export interface Mark {
  at: number;
  what: string;
}

interface Drawing {
  /** What a person who does not see it is told. */
  title: string;
  lines: readonly Line[];
  bounds?: readonly Bound[];
  marks?: readonly Mark[];
  /** Values stand until the next one. */
  isStepped?: boolean;
  isLogarithmic?: boolean;
  /** The least and the greatest value, where they are not to follow from what is drawn. */
  range?: readonly [number, number];
  format: (value: number) => string;
}

const HEIGHT = 180;
/** On a logarithmic axis, which has no 0. */
export const LOWEST = 0.01;
const MOST_ROWS = 60;
/** Of lines that are neither good nor bad. */
export const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5"];
const WHOLE_SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200];
const DAYS = [1, 2, 7, 14, 28].map((days) => days * 86_400);

/** Lines over time, with bounds across and events down. Below stands the same as a table. */
export function Plot(props: Drawing) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  const [readout, setReadout] = useState("");
  const [isOpen, setOpen] = useState(false);
  latest.current = props;
  const shape = JSON.stringify([props.lines.map((line) => line.name), props.isStepped, props.isLogarithmic]);

  useEffect(() => {
    const home = place.current;
    if (home === null) return undefined;
    const make = (): void => {
      plot.current?.destroy();
      plot.current = new uPlot(options(home, latest, setReadout), data(latest.current.lines), home);
    };
    make();
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", make);
    const sized = new ResizeObserver(() => plot.current?.setSize({ width: home.clientWidth, height: HEIGHT }));
    sized.observe(home);
    return () => {
      scheme.removeEventListener("change", make);
      sized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData(data(props.lines)));

  return (
    <figure class="plot">
      <figcaption>
        <ul class="legend">
          {props.lines.map((line) => (
            <li key={line.name}>
              <span class="swatch" style={{ background: `var(${line.colour})` }} aria-hidden="true" /> {line.name}
            </li>
          ))}
          {(props.bounds ?? []).map((bound) => (
            <li key={bound.name} class="quiet">
              <span class="swatch dashed" style={{ borderColor: `var(${bound.colour})` }} aria-hidden="true" />{" "}
              {bound.name}
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={place} role="img" aria-label={props.title} class="canvas" />
      <p class="readout quiet" aria-hidden="true">
        {readout}
      </p>
      <details onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>As a table</summary>
        {isOpen && <Numbers {...props} />}
      </details>
    </figure>
  );
}

function Numbers(props: Drawing) {
  const rows = [
    ...props.lines.flatMap((line) =>
      line.points.map(([at, value]) => ({ at, what: line.name, value: value === null ? "–" : props.format(value) })),
    ),
    ...(props.marks ?? []).map((mark) => ({ at: mark.at, what: mark.what, value: "" })),
  ]
    .sort((one, other) => other.at - one.at)
    .slice(0, MOST_ROWS);
  return (
    <table class="rows numbers">
      <caption class="hidden">{props.title}</caption>
      <thead>
        <tr>
          <th scope="col">Time</th>
          <th scope="col">What</th>
          <th scope="col" class="number">
            Value
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={`${row.at} ${row.what}`}>
            <td data-name="Time"><div>{clock(new Date(row.at * 1000).toISOString())}</div></td>
            <td data-name="What"><div>{row.what}</div></td>
            <td data-name="Value" class="number">
              <div>{row.value}</div>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Lines have times of their own; drawn are all times of all of them. */
function data(lines: readonly Line[]): uPlot.AlignedData {
  const tables = lines.map(
    (line) => [line.points.map(([at]) => at), line.points.map(([, value]) => value)] as uPlot.AlignedData,
  );
  return tables.length === 0 ? [[]] : uPlot.join(tables);
}

function options(
  home: HTMLElement,
  latest: { current: Drawing },
  setReadout: (text: string) => void,
): uPlot.Options {
  const style = getComputedStyle(home);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const { lines, isStepped, isLogarithmic } = latest.current;
  const axis = {
    stroke: colour("--quiet"),
    grid: { stroke: colour("--raised"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
    font: "12px system-ui, sans-serif",
  };
  const stepped = uPlot.paths.stepped?.({ align: 1 });
  return {
    width: home.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 7 } },
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
    scales: {
      y: {
        ...(isLogarithmic ? { distr: 3 as const, log: 10 as const } : {}),
        range: (_plot, least, greatest) => rangeOf(latest.current, least, greatest),
      },
    },
    axes: [
      { ...axis, size: 30, space: 70, incrs: [...WHOLE_SECONDS, ...DAYS], values: timesOfDay },
      { ...axis, size: 62, values: (_plot, values) => values.map((value) => worded(value, latest.current)) },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.name,
        stroke: colour(line.colour),
        width: 2,
        spanGaps: true,
        points: { show: line.points.length < 2 },
        ...(isStepped && stepped !== undefined ? { paths: stepped } : {}),
      })),
    ],
    hooks: {
      draw: [(plot) => drawBeside(plot, latest.current, colour)],
      setCursor: [(plot) => setReadout(readoutOf(plot, latest.current))],
    },
  };
}

const timesOfDay = (_plot: uPlot, times: readonly number[], _axis: number, _space: number, step: number): string[] =>
  times.map((at) => {
    const iso = new Date(at * 1000).toISOString();
    if (step >= 86_400) return iso.slice(5, 10);
    return step >= 60 ? iso.slice(11, 16) : iso.slice(11, 19);
  });

/** uPlot leaves ticks of a logarithmic axis empty where they would be too many. */
const worded = (value: number | null, drawing: Drawing): string => (value === null ? "" : drawing.format(value));

function rangeOf(drawing: Drawing, least: number | null, greatest: number | null): [number, number] {
  if (drawing.range !== undefined) return [...drawing.range];
  const bounds = (drawing.bounds ?? []).map((bound) => bound.at);
  if (drawing.isLogarithmic) {
    const whole = (value: number, round: (power: number) => number): number => 10 ** round(Math.log10(value));
    const low = whole(Math.max(LOWEST, Math.min(...bounds, least ?? 1)), Math.floor);
    return [low, whole(Math.max(...bounds, greatest ?? 1, low * 10), Math.ceil)];
  }
  const low = Math.min(...bounds, least ?? 0, 0);
  const high = Math.max(...bounds, greatest ?? 1);
  return low === high ? [low - 1, high + 1] : [low, high + (high - low) * 0.08];
}

function drawBeside(plot: uPlot, drawing: Drawing, colour: (name: string) => string): void {
  const { ctx, bbox } = plot;
  const line = (x0: number, y0: number, x1: number, y1: number, stroke: string, dash: number[]): void => {
    ctx.strokeStyle = stroke;
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(x0, y0);
    ctx.lineTo(x1, y1);
    ctx.stroke();
  };
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.lineWidth = devicePixelRatio;
  for (const bound of drawing.bounds ?? []) {
    const y = plot.valToPos(bound.at, "y", true);
    line(bbox.left, y, bbox.left + bbox.width, y, colour(bound.colour), [6, 4]);
  }
  for (const mark of drawing.marks ?? []) {
    const x = plot.valToPos(mark.at, "x", true);
    line(x, bbox.top, x, bbox.top + bbox.height, colour("--quiet"), [2, 3]);
  }
  ctx.restore();
}

function readoutOf(plot: uPlot, drawing: Drawing): string {
  const index = plot.cursor.idx;
  const at = index === null || index === undefined ? undefined : plot.data[0][index];
  if (at === undefined) return "";
  const values = drawing.lines.map((line) => {
    const value = line.points.findLast(([time, found]) => time <= at && found !== null)?.[1];
    return value === null || value === undefined ? "" : `${line.name} ${drawing.format(value)}`;
  });
  return [clock(new Date(at * 1000).toISOString()), ...values].filter((words) => words !== "").join(" · ");
}

/** Three digits at most, for people. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${(value / 1e6).toPrecision(2)} M`;
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}
