import { useEffect, useState } from "preact/hooks";
import { send, sentenceOf } from "../api";
import { ReasonDialog } from "../ui/dialog";
import { hasRole } from "../ui/role";
import { Age } from "../ui/time";
import type { Flag } from "./flags";

export interface Latch {
  environment: string;
  by: string;
  reason: string;
  at: string;
  flags: string[];
  include_permanent: boolean;
}

interface Lifted {
  lifted: boolean;
  would_return: Record<string, number>;
}

const PATH = "/feature-flags/disable-all";
const EVERYWHERE = "*";

const placeOf = (environment: string): string => (environment === EVERYWHERE ? "all environments" : environment);
const scopeOf = (latch: Latch): string => (latch.flags.length > 0 ? latch.flags.join(", ") : "Every flag");

/** The switch above all flags: whether it is thrown, throwing it, and lifting it. */
export function KillSwitch(props: { latches: readonly Latch[]; flags: readonly Flag[]; onDone: () => void }) {
  const [isThrowing, setThrowing] = useState(false);
  const [lifting, setLifting] = useState<Latch | null>(null);
  const isOn = props.latches.length > 0;
  return (
    <section class={isOn ? "panel alarm" : "panel"} aria-labelledby="kill-switch">
      <h2 id="kill-switch">{isOn ? "The kill switch is on" : "Kill switch"}</h2>
      {!isOn && <p>It is off: flags answer as they are set. In an emergency it turns every flag off at once.</p>}
      {props.latches.map((latch) => (
        <Thrown key={latch.environment} latch={latch} onLift={() => setLifting(latch)} />
      ))}
      {hasRole("operator") && (
        <div class="actions">
          <button type="button" class="danger" onClick={() => setThrowing(true)}>
            {isOn ? "Turn off more…" : "Turn every flag off…"}
          </button>
        </div>
      )}
      {isThrowing && <Throw flags={props.flags} onDone={props.onDone} onClose={() => setThrowing(false)} />}
      {lifting !== null && <Lift latch={lifting} onDone={props.onDone} onClose={() => setLifting(null)} />}
    </section>
  );
}

function Thrown({ latch, onLift }: { latch: Latch; onLift: () => void }) {
  return (
    <div>
      <p>
        <strong>
          {scopeOf(latch)}
          {latch.flags.length === 0 && !latch.include_permanent && " that is not permanent"} answers off in{" "}
          {placeOf(latch.environment)}
        </strong>
        , since <Age at={latch.at} />, by {latch.by}: {latch.reason || "no reason given"}.
      </p>
      {hasRole("approver") ? (
        <button type="button" onClick={onLift}>
          Lift it in {placeOf(latch.environment)}…
        </button>
      ) : (
        <p class="quiet">An approver can lift it.</p>
      )}
    </div>
  );
}

function Throw({ flags, onDone, onClose }: { flags: readonly Flag[]; onDone: () => void; onClose: () => void }) {
  const [environment, setEnvironment] = useState(EVERYWHERE);
  const [hasPermanent, setPermanent] = useState(false);
  const environments = [...new Set(flags.map((flag) => flag.environment))].sort();
  const meant = flags.filter((flag) => environment === EVERYWHERE || flag.environment === environment);
  const off = meant.filter((flag) => isUp(flag) && (hasPermanent || flag.permanent !== true));
  const confirm = async (reason: string): Promise<void> => {
    await send("POST", PATH, {
      environment: environment === EVERYWHERE ? null : environment,
      include_permanent: hasPermanent,
      ...(reason === "" ? {} : { reason }),
    });
    onDone();
  };
  return (
    <ReasonDialog
      title="Turn every flag off?"
      action="Turn every flag off"
      tone="danger"
      isReasonOptional
      onConfirm={confirm}
      onClose={onClose}
    >
      <p>
        Users get the old behaviour at once, and keep it until an approver lifts the switch. Runs hold where they are;
        no percentage is forgotten.
      </p>
      <label class="field">
        Where
        <select name="environment" value={environment} onChange={(event) => setEnvironment(event.currentTarget.value)}>
          <option value={EVERYWHERE}>all environments</option>
          {environments.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label class="tick">
        <input
          type="checkbox"
          name="permanent"
          checked={hasPermanent}
          onChange={(event) => setPermanent(event.currentTarget.checked)}
        />
        Permanent flags too
      </label>
      <p>
        <strong>{off.length === 0 ? "No flag is on there now" : `On now, and then off: ${off.length}`}</strong>
        {off.length > 0 && `: ${named(off)}`}
      </p>
    </ReasonDialog>
  );
}

const MOST_NAMED = 8;
const isUp = (flag: Flag): boolean => flag.state === "enabled" && !flag.killed && flag.percentage > 0;

function named(flags: readonly Flag[]): string {
  const names = flags.slice(0, MOST_NAMED).map((flag) => `${flag.key} (${flag.environment}, ${flag.percentage} %)`);
  return names.join(", ") + (flags.length > MOST_NAMED ? " and others" : "");
}

function Lift({ latch, onDone, onClose }: { latch: Latch; onDone: () => void; onClose: () => void }) {
  const [returns, setReturns] = useState<[string, number][] | null>(null);
  const [problem, setProblem] = useState("");
  const asked = (reason: string, isMeant: boolean): Promise<Lifted> =>
    send("DELETE", PATH, {
      environment: latch.environment === EVERYWHERE ? null : latch.environment,
      reason,
      confirm: isMeant,
    });
  useEffect(() => {
    asked("what would return", false)
      .then((found) => setReturns(Object.entries(found.would_return).sort()))
      .catch((error: unknown) => setProblem(sentenceOf(error)));
  }, []);
  return (
    <ReasonDialog
      title={`Lift the kill switch in ${placeOf(latch.environment)}?`}
      action="Lift it"
      onConfirm={async (reason) => {
        await asked(reason, true);
        onDone();
      }}
      onClose={onClose}
    >
      <p>Flags answer again as they are set, at once:</p>
      {problem !== "" && <p class="banner bad">{problem}</p>}
      {returns === null ? problem === "" && <p class="empty">Looking what returns…</p> : <Returns returns={returns} />}
    </ReasonDialog>
  );
}

function Returns({ returns }: { returns: readonly [string, number][] }) {
  if (returns.length === 0) return <p class="quiet">No flag changes.</p>;
  return (
    <div class="returns" role="group" aria-label="What returns" tabIndex={0}>
      <ul>
        {returns.map(([name, percentage]) => (
          <li key={name}>
            {name} returns to <strong>{percentage} %</strong>
          </li>
        ))}
      </ul>
    </div>
  );
}
