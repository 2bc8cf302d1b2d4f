import { useEffect, useRef, useState } from "preact/hooks";
import { runPage } from "../api";
import { usePolled } from "../live";
import type { Hold, Run } from "../types";
import { RunChip } from "../ui/chip";
import { Layout } from "../ui/layout";
import { Table } from "../ui/table";
import { Age } from "../ui/time";

const ACTIVE_SECONDS = 2;
const ENDED_SECONDS = 15;
const FIRST_ENDED = 200;
const MOST_RUNS = 5000;
const FIRST_ROWS = 100;
const MOST_FLAGS = 3;

const STATES: readonly [string, string, (run: Run) => boolean][] = [
  ["", "every state", () => true],
  ["active", "active", (run) => run.outcome === null],
  ["held", "held", (run) => run.outcome === null && holdsOf(run).length > 0],
  ["rolling_back", "rolling back", (run) => run.phase === "rolling_back"],
  ["promoted", "promoted", (run) => run.outcome === "promoted"],
  ["rolled_back", "rolled back", (run) => run.outcome === "rolled_back"],
  ["stopped", "stopped", (run) => run.outcome === "stopped"],
  ["rollback_failed", "rollback failed", (run) => run.outcome === "rollback_failed"],
];

const holdsOf = (run: Run): Hold[] => run.holds ?? [];

/** What needs somebody comes first, then the newest. */
const urgency = (run: Run): number => (run.phase === "rolling_back" ? 0 : holdsOf(run).length > 0 ? 1 : 2);

export function RunsPage() {
  const [mostEnded, setMostEnded] = useState(FIRST_ENDED);
  const [mostRows, setMostRows] = useState(FIRST_ROWS);
  const [filter, setFilter] = useFilter();
  const active = usePolled<Run[]>(`/api/v1/runs?active=true&limit=${MOST_RUNS}`, ACTIVE_SECONDS);
  const ended = usePolled<Run[]>(`/api/v1/runs?active=false&limit=${mostEnded}`, ENDED_SECONDS);
  useRefreshedWhenOneIsGone(active.value, ended.refresh);
  const isLoading = active.value === null || ended.value === null;
  const running = [...(active.value ?? [])].sort((one, other) => urgency(one) - urgency(other));
  const isActive = new Set(running.map((run) => run.run));
  const all = [...running, ...(ended.value ?? []).filter((run) => !isActive.has(run.run))];
  const found = all.filter(matching(filter));
  const held = running.filter((run) => urgency(run) < 2).length;
  return (
    <Layout title="Runs" freshness={active.freshness.why === "" ? ended.freshness : active.freshness}>
      <p class="lead">
        {isLoading
          ? "Loading…"
          : `${running.length} active${held > 0 ? `, ${held} of them held or rolling back` : ""}, ${ended.value?.length ?? 0}${
              (ended.value?.length ?? 0) === mostEnded ? " or more" : ""
            } ended`}
      </p>
      <form class="filter" role="search" onSubmit={(event) => event.preventDefault()}>
        <label>
          <span class="hidden">Filter by text</span>
          <input
            type="search"
            placeholder="Filter: name, plan, flag, stage, hold…"
            value={filter.text}
            onInput={(event) => setFilter({ ...filter, text: event.currentTarget.value })}
          />
        </label>
        <label>
          <span class="hidden">Filter by state</span>
          <select value={filter.state} onChange={(event) => setFilter({ ...filter, state: event.currentTarget.value })}>
            {STATES.map(([value, words]) => (
              <option key={value} value={value}>
                {words}
              </option>
            ))}
          </select>
        </label>
      </form>
      <p role="status" class="quiet">
        {!isLoading && found.length < all.length && `${found.length} of ${all.length} match`}
      </p>
      {!isLoading && (
        <Table
          caption="Runs, active ones first"
          rows={found.slice(0, mostRows)}
          keyOf={(run) => run.run}
          empty={
            all.length > 0 ? (
              "No run matches."
            ) : (
              <>
                No run yet: <code>rollout start plan.yaml</code> starts one.
              </>
            )
          }
          columns={[
            { name: "Run", share: 24, cell: (run) => <a href={runPage(run.run)}>{run.run}</a> },
            { name: "Stands", share: 31, cell: (run) => <Standing run={run} /> },
            { name: "Where", share: 15, cell: (run) => placeOf(run) },
            { name: "Exposure", share: 18, cell: (run) => <Exposure percentages={run.percentages ?? {}} /> },
            { name: "Age", share: 12, cell: (run) => <RunAge run={run} /> },
          ]}
        />
      )}
      {found.length > mostRows && (
        <button type="button" onClick={() => setMostRows(mostRows * 5)}>
          Show more of the {found.length - mostRows} that follow
        </button>
      )}
      {found.length <= mostRows && ended.value?.length === mostEnded && mostEnded < MOST_RUNS && (
        <button type="button" onClick={() => setMostEnded(MOST_RUNS)}>
          Load older runs
        </button>
      )}
    </Layout>
  );
}

/** Who was active and is not any more has ended, and must not be missing until the others are asked for again. */
function useRefreshedWhenOneIsGone(active: readonly Run[] | null, refresh: () => void): void {
  const before = useRef<readonly Run[]>([]);
  useEffect(() => {
    if (active === null) return;
    const names = new Set(active.map((run) => run.run));
    if (before.current.some((run) => !names.has(run.run))) refresh();
    before.current = active;
  }, [active]);
}

interface Filter {
  text: string;
  state: string;
}

/** The filter stands in the address, so that it can be sent to somebody and stays when the page is loaded again. */
function useFilter(): [Filter, (filter: Filter) => void] {
  const asked = new URLSearchParams(location.search);
  const [filter, setFilter] = useState<Filter>({ text: asked.get("text") ?? "", state: asked.get("state") ?? "" });
  const change = (wanted: Filter): void => {
    setFilter(wanted);
    const given = Object.entries(wanted).filter(([, value]) => value !== "");
    const query = new URLSearchParams(given).toString();
    history.replaceState(null, "", query === "" ? location.pathname : `?${query}`);
  };
  return [filter, change];
}

function matching({ text, state }: Filter): (run: Run) => boolean {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const isInState = STATES.find(([value]) => value === state)?.[2] ?? (() => true);
  return (run) => isInState(run) && words.every((word) => textOf(run).includes(word));
}

const textOf = (run: Run): string =>
  [
    run.run,
    run.plan,
    run.outcome ?? run.phase,
    run.environment,
    run.stage,
    run.step,
    run.owner,
    ...Object.keys(run.percentages ?? {}),
    ...holdsOf(run).flatMap((hold) => [hold.reason, hold.detail]),
  ]
    .join(" ")
    .toLowerCase();

const placeOf = (run: Run): string =>
  run.outcome === null ? [run.environment, run.stage, run.step].filter(Boolean).join(" · ") : "";

function Standing({ run }: { run: Run }) {
  return (
    <>
      <RunChip run={run} />
      {run.outcome === null &&
        holdsOf(run).map((hold) => (
          <div key={`${hold.reason} ${hold.item ?? ""}`} class="hold">
            <strong>{hold.reason.replaceAll("_", " ")}</strong>
            {hold.detail ? `: ${hold.detail}` : ""}
          </div>
        ))}
    </>
  );
}

function Exposure({ percentages }: { percentages: Record<string, number> }) {
  const flags = Object.entries(percentages).sort(([, one], [, other]) => other - one);
  if (flags.length === 0) return null;
  return (
    <>
      {flags.slice(0, MOST_FLAGS).map(([flag, percentage]) => (
        <div key={flag}>
          <b>{percentage} %</b> {flag}
        </div>
      ))}
      {flags.length > MOST_FLAGS && <div class="quiet">and {flags.length - MOST_FLAGS} more</div>}
    </>
  );
}

function RunAge({ run }: { run: Run }) {
  return run.ended === null ? (
    <>
      started <Age at={run.started} />
    </>
  ) : (
    <>
      ended <Age at={run.ended} />
    </>
  );
}
