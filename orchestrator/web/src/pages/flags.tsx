import "./pages.css";
import { useState } from "preact/hooks";
import { runPage, send } from "../api";
import { usePolled } from "../live";
import { Chip } from "../ui/chip";
import { ReasonDialog } from "../ui/dialog";
import { Layout } from "../ui/layout";
import { hasRole } from "../ui/role";
import { Table } from "../ui/table";
import { Age } from "../ui/time";
import { Window } from "../ui/window";
import { KillSwitch, type Latch } from "./kill_switch";

export interface Flag {
  key: string;
  environment: string;
  state: "enabled" | "disabled";
  killed: boolean;
  percentage: number;
  permanent?: boolean;
  run: string | null;
  pinned: boolean;
  by: string;
  at: string;
}

interface Changed {
  version: string;
  at: string;
  by: string;
  reason: string;
  run: string | null;
  changed: Record<string, unknown>;
}

type Shown = { flag: Flag; what: "change" | "history" };

const FEW = 10;
const FIRST_ROWS = 100;
const nameOf = (flag: Flag): string => `${flag.environment}/${flag.key}`;
const flagPath = (flag: Flag, place = "flags"): string =>
  `/api/v1/${place}/${encodeURIComponent(flag.key)}?environment=${encodeURIComponent(flag.environment)}`;

export function FlagsPage() {
  const { value: flags, freshness, refresh } = usePolled<Flag[]>("/api/v1/flags", 4);
  const latches = usePolled<Latch[]>("/feature-flags/disable-all", 4);
  const [shown, setShown] = useState<Shown | null>(null);
  const refreshAll = (): void => (refresh(), latches.refresh());
  return (
    <Layout title="Flags" freshness={freshness.why === "" ? latches.freshness : freshness}>
      {latches.value !== null && flags !== null && (
        <KillSwitch latches={latches.value} flags={flags} onDone={refreshAll} />
      )}
      {flags === null ? <p class="empty">Loading…</p> : <Listed flags={flags} show={setShown} />}
      {shown?.what === "change" && <Change flag={shown.flag} onDone={refresh} onClose={() => setShown(null)} />}
      {shown?.what === "history" && <History flag={shown.flag} onClose={() => setShown(null)} />}
    </Layout>
  );
}

function Listed({ flags, show }: { flags: readonly Flag[]; show: (shown: Shown) => void }) {
  const [wanted, setWanted] = useState("");
  const [most, setMost] = useState(FIRST_ROWS);
  const found = flags.filter((flag) => nameOf(flag).toLowerCase().includes(wanted.trim().toLowerCase()));
  return (
    <>
      {flags.length > FEW && (
        <label class="field">
          Find
          <input
            type="search"
            name="find"
            value={wanted}
            onInput={(event) => setWanted(event.currentTarget.value)}
            autocomplete="off"
          />
        </label>
      )}
      <Table
        caption="Flags"
        rows={found.slice(0, most)}
        keyOf={nameOf}
        empty={flags.length === 0 ? "No flag yet: a run makes its own." : "No flag has this in its name."}
        columns={[
          { name: "Flag", share: 21, cell: (flag) => flag.key },
          { name: "Environment", share: 13, cell: (flag) => flag.environment },
          { name: "Answers", share: 13, cell: (flag) => <Answers flag={flag} /> },
          { name: "Percentage", share: 10, isNumber: true, cell: (flag) => `${flag.percentage} %` },
          { name: "Moved by", share: 15, cell: (flag) => <MovedBy flag={flag} /> },
          {
            name: "Changed",
            share: 15,
            cell: (flag) => (
              <>
                <Age at={flag.at} /> by {flag.by}
              </>
            ),
          },
          { name: "Do", share: 13, cell: (flag) => <Buttons flag={flag} show={show} /> },
        ]}
      />
      {found.length > most && (
        <button type="button" onClick={() => setMost(most * 5)}>
          Show more of the {found.length - most} that follow
        </button>
      )}
    </>
  );
}

/** In words what users meet: the state alone does not say it. */
function Answers({ flag }: { flag: Flag }) {
  return (
    <span class="chips">
      {flag.killed && <Chip word="killed: off" tone="bad" />}
      <Chip word={flag.state} tone={flag.killed ? "quiet" : undefined} />
      {flag.permanent === true && <Chip word="permanent" tone="quiet" />}
    </span>
  );
}

function MovedBy({ flag }: { flag: Flag }) {
  if (flag.run === null) return <span class="quiet">nobody now</span>;
  return (
    <>
      <a href={runPage(flag.run)}>{flag.run}</a> {flag.pinned && <Chip word="pinned" tone="warn" />}
    </>
  );
}

function Buttons({ flag, show }: { flag: Flag; show: (shown: Shown) => void }) {
  return (
    <span class="flag-buttons">
      {hasRole("operator") && (
        <button
          type="button"
          class="small"
          aria-label={`Change ${nameOf(flag)}`}
          onClick={() => show({ flag, what: "change" })}
        >
          Change
        </button>
      )}
      <button
        type="button"
        class="small"
        aria-label={`History of ${nameOf(flag)}`}
        onClick={() => show({ flag, what: "history" })}
      >
        History
      </button>
    </span>
  );
}

function Change({ flag, onDone, onClose }: { flag: Flag; onDone: () => void; onClose: () => void }) {
  const [percentage, setPercentage] = useState(String(flag.percentage));
  const [state, setState] = useState<string>(flag.state);
  const confirm = async (reason: string): Promise<void> => {
    await send("PATCH", flagPath(flag), { percentage: Number(percentage), state, reason });
    onDone();
  };
  return (
    <ReasonDialog
      title={`Change ${flag.key} in ${flag.environment}`}
      action="Change"
      onConfirm={confirm}
      onClose={onClose}
    >
      {flag.run !== null && (
        <p class="banner warn">
          {flag.run} moves this flag. It will hold where it is, and ask somebody what becomes of your change.
        </p>
      )}
      {flag.killed && <p class="banner bad">The kill switch holds this flag off, whatever is set here.</p>}
      <div class="pair">
        <label class="field">
          Percentage
          <input
            type="number"
            name="percentage"
            min="0"
            max="100"
            step="0.001"
            required
            value={percentage}
            onInput={(event) => setPercentage(event.currentTarget.value)}
          />
        </label>
        <label class="field">
          State
          <select name="state" value={state} onChange={(event) => setState(event.currentTarget.value)}>
            <option value="enabled">enabled</option>
            <option value="disabled">disabled: off for everybody</option>
          </select>
        </label>
      </div>
    </ReasonDialog>
  );
}

function History({ flag, onClose }: { flag: Flag; onClose: () => void }) {
  const { value, freshness } = usePolled<Changed[]>(flagPath(flag, "flag-history"), 10);
  return (
    <Window title={`History of ${flag.key} in ${flag.environment}`} onClose={onClose}>
      {freshness.why !== "" && <p class="banner warn">{freshness.why}</p>}
      {value === null ? (
        <p class="empty">Loading…</p>
      ) : (
        <Table
          caption="Changes, newest first"
          rows={value}
          keyOf={(one) => one.version}
          empty="Nothing is known."
          columns={[
            { name: "When", cell: (one) => <Age at={one.at} /> },
            { name: "Who", cell: (one) => (one.run === null ? one.by : <a href={runPage(one.run)}>{one.run}</a>) },
            { name: "What", cell: (one) => whatChanged(one.changed) },
            { name: "Reason", cell: (one) => one.reason },
          ]}
        />
      )}
    </Window>
  );
}

const whatChanged = (changed: Record<string, unknown>): string =>
  Object.entries(changed)
    .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : String(value)}`)
    .join(", ");
