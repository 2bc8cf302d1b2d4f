import type { Course, Criterion, Status } from "../../types";
import { Chip } from "../../ui/chip";
import { type Bound, COLOURS, LOWEST, type Line, type Mark, Plot, type Point, short } from "../../ui/plot";

const seconds = (iso: string): number => Date.parse(iso) / 1000;
const percent = (value: number): string => `${short(value)} %`;

/** How the percentages came to be what they are. */
export function ExposurePlot({ status, course }: { status: Status; course: Course }) {
  const here = course.exposure.filter((flag) => flag.environment === status.environment);
  const shown = [...here].sort((one, other) => lastOf(other).localeCompare(lastOf(one))).slice(0, MOST_LINES);
  const first = Math.min(...shown.map((flag) => seconds(flag.points[0]?.[0] ?? "")));
  const until = status.ended === null ? Date.now() / 1000 : afterwards(first, seconds(status.ended));
  const lines = shown.map((flag, index): Line => {
    const points = flag.points.map(([at, percentage]): Point => [seconds(at), percentage]);
    const last = points.at(-1)?.[1] ?? null;
    return { name: flag.flag, points: [...points, [until, last]], colour: COLOURS[index % COLOURS.length] ?? "--line-1" };
  });
  if (lines.length === 0) return null;
  return (
    <section aria-labelledby="exposure">
      <h2 id="exposure">Percentages over time</h2>
      <Plot
        title={`Percentages over time: ${shown.map((flag) => `${flag.flag} ${coursed(flag.points)}`).join("; ")}`}
        lines={lines}
        marks={marksOf(course)}
        isStepped
        range={[0, 105]}
        format={percent}
      />
      {here.length > shown.length && (
        <p class="quiet">The {shown.length} flags that changed last, of {here.length}.</p>
      )}
    </section>
  );
}

const MOST_LINES = COLOURS.length;
const lastOf = (flag: Course["exposure"][number]): string => flag.points.at(-1)?.[0] ?? "";

/** A little later than the end, so that a last change is seen. */
const afterwards = (first: number, ended: number): number => ended + Math.max(1, (ended - first) * 0.03);

const coursed = (points: readonly [string, number][]): string =>
  points.map(([, percentage]) => `${percentage} %`).join(", then ");

const marksOf = (course: Course | null): Mark[] =>
  (course?.marks ?? []).map((mark) => ({ at: seconds(mark.time), what: mark.what }));

/** What the gate says now, each criterion with its evidence against its bounds. */
export function GateView({ status, course }: { status: Status; course: Course | null }) {
  const gate = status.gate;
  if (gate === null) return null;
  return (
    <section aria-labelledby="gate">
      <h2 id="gate">
        Gate {gate.name} <Chip word={gate.verdict} />
      </h2>
      {gate.on_fail !== undefined && (
        <p class="quiet">When it fails, the run {gate.on_fail === "pause" ? "pauses" : "rolls back"}.</p>
      )}
      <ul class="criteria">
        {gate.criteria.map((criterion) => (
          <li key={criterion.name} class="card">
            <h3>
              {criterion.name} <Chip word={criterion.verdict} />
            </h3>
            <p>{criterion.sentence ?? "It was not measured yet."}</p>
            <CriterionPlot criterion={criterion} marks={marksOf(course)} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function CriterionPlot({ criterion, marks }: { criterion: Criterion; marks: readonly Mark[] }) {
  const trail = criterion.trail ?? [];
  if (trail.length < 2) return null;
  const first = seconds(trail[0]?.at ?? "");
  const near = marks.filter((mark) => mark.at >= first);
  const pointsOf = (pick: (point: (typeof trail)[number]) => unknown): Point[] =>
    trail.map((point): Point => [seconds(point.at), finite(pick(point))]);
  if (criterion.evidence) {
    const { fails_at, holds_at, against, excluded } = criterion.evidence;
    const bounds: Bound[] = [];
    if (typeof fails_at === "number") bounds.push({ name: `fails at ${short(fails_at)}`, at: fails_at, colour: "--bad" });
    if (typeof holds_at === "number") bounds.push({ name: `holds at ${short(holds_at)}`, at: holds_at, colour: "--warn" });
    const clipped = (value: number | null | undefined): number | null | undefined =>
      typeof value === "number" ? Math.min(Math.max(value, LOWEST), 1e6) : value;
    return (
      <Plot
        title={`Evidence of ${criterion.name} over time: against the release ${worded(against)}, that it is not worse by half ${worded(excluded)}`}
        lines={[
          { name: "evidence against the release", points: pointsOf((point) => clipped(point.against)), colour: "--line-2" },
          { name: "evidence that it is not worse by half", points: pointsOf((point) => clipped(point.excluded)), colour: "--line-1" },
        ]}
        bounds={bounds}
        marks={near}
        isLogarithmic
        format={short}
      />
    );
  }
  const values = pointsOf((point) => point.value);
  if (values.every(([, value]) => value === null)) return null;
  const { passes, fails } = criterion.bounds ?? {};
  const bounds: Bound[] = [];
  if (passes !== undefined)
    bounds.push({ name: `passes ${passes.op} ${short(passes.at)}`, at: passes.at, colour: "--good" });
  if (fails !== undefined) bounds.push({ name: `fails ${fails.op} ${short(fails.at)}`, at: fails.at, colour: "--bad" });
  return (
    <Plot
      title={`${criterion.name} over time: now ${worded(criterion.value)}${bounds.map((bound) => `; ${bound.name}`).join("")}`}
      lines={[{ name: criterion.name, points: values, colour: "--line-1" }]}
      bounds={bounds}
      marks={near}
      format={short}
    />
  );
}

/** What JSON has no number for comes as a word. */
const finite = (value: unknown): number | null => (typeof value === "number" ? value : null);

const worded = (value: number | null | undefined): string => (typeof value === "number" ? short(value) : "not known");
