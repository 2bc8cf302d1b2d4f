import { useNow } from "../../live";
import type { Course, Hold, Progress, Status } from "../../types";
import { Age, Clock, duration, utc } from "../../ui/time";
import { Percentages } from "./percentages";

const LEGS: Record<string, string> = {
  entering: "asks whether this step may begin",
  preparing: "is prepared",
  acting: "is being changed",
  settling: "settles",
  baking: "bakes: its gate is looked at",
  finishing: "is finished",
};

const PHASES: Record<string, string> = {
  checking: "The checks are looked at; nothing has been changed yet",
  watching: "Everything is changed, and is watched",
  rolling_back: "Everything is brought back to what was there before",
};

const OUTCOMES: Record<string, string> = {
  promoted: "It went all the way",
  rolled_back: "Everything is as it was before",
  stopped: "It was stopped, and the world stays as it is",
  rollback_failed: "Something was given up as it is",
};

const REASONS: Record<string, string> = {
  no_controller: "nobody acts for it",
};

/** What is happening, why, and what comes next: readable in five seconds. */
export function Glance({ status, marks }: { status: Status; marks: Course["marks"] }) {
  return (
    <section class="glance" aria-label="At a glance">
      <p class="what">{whatOf(status)}</p>
      {status.outcome === "rolled_back" && <Exceptions texts={status.exceptions} />}
      {status.rollback !== null && (
        <p>
          <b>Why:</b> {whyBack(status.rollback, marks)}
        </p>
      )}
      {status.store_error && <p class="banner bad">Nothing can be written: {status.store_error}</p>}
      {status.holds.length > 0 && (
        <ul class="holds" aria-label="Why nothing moves">
          {status.holds.map((hold) => (
            <HoldLine key={`${hold.reason} ${hold.item ?? ""}`} hold={hold} />
          ))}
        </ul>
      )}
      {(status.frozen ?? []).map((one) => (
        <p key={one.environment} class="banner warn">
          <b>{one.environment === "*" ? "Every environment is frozen" : `${one.environment} is frozen`}</b> by {one.by}
          {one.until !== null && (
            <>
              {" "}
              until <Clock at={one.until} />
            </>
          )}
          : {one.reason}
        </p>
      ))}
      {status.outcome === null && (
        <p class="next">
          <b>Next:</b> {status.next.what}
          {status.next.at !== null && (
            <>
              {" "}
              <Countdown at={status.next.at} />
            </>
          )}
        </p>
      )}
      {status.progress !== null && <Bar progress={status.progress} />}
      <Percentages percentages={status.percentages} />
      <p class="quiet">
        {status.author !== null && <>by {status.author}, </>}
        started <Age at={status.started} />
        {status.ended !== null && (
          <>
            , ended <Age at={status.ended} />
          </>
        )}
        {status.controller && <>, controller {status.controller}</>}
      </p>
    </section>
  );
}

const CAUSES = new Set(["GateFailed", "TriggerFired", "OnFailPaused"]);

/** What a gate or a trigger said just before, or who asked for it and why. */
function whyBack(rollback: NonNullable<Status["rollback"]>, marks: Course["marks"]): string {
  const index = marks.findLastIndex((mark) => mark.type === "RollbackStarted");
  const before = marks[index - 1];
  if (rollback.by === "controller" && before !== undefined && CAUSES.has(before.type)) return before.what;
  const who = rollback.by === "controller" ? rollback.cause.replaceAll("_", " ") : `${rollback.by} asked for it`;
  return rollback.reason === "" ? who : `${who}: ${rollback.reason}`;
}

const MOST_EXCEPTIONS = 3;

function Exceptions({ texts }: { texts: readonly string[] }) {
  if (texts.length === 0) return null;
  return (
    <ul aria-label="What is not as it was before">
      {texts.slice(0, MOST_EXCEPTIONS).map((text) => (
        <li key={text}>{text}</li>
      ))}
      {texts.length > MOST_EXCEPTIONS && <li>and {texts.length - MOST_EXCEPTIONS} more: see below</li>}
    </ul>
  );
}

function whatOf(status: Status): string {
  if (status.outcome === "rolled_back" && status.exceptions.length > 0)
    return "It was rolled back. Not as it was before:";
  if (status.outcome !== null) return `${OUTCOMES[status.outcome] ?? status.outcome}.`;
  const place = [status.environment, status.stage, status.step].filter(Boolean).join(" · ");
  if (status.phase !== "running") {
    const words = PHASES[status.phase] ?? status.phase;
    return status.environment === null ? `${words}.` : `${words} (${status.environment}).`;
  }
  if (status.holds.length > 0) return `Held at ${place}: nothing goes forward.`;
  return `${place} ${LEGS[status.leg ?? ""] ?? status.leg ?? ""}.`;
}

function HoldLine({ hold }: { hold: Hold }) {
  const isItem = hold.item !== undefined && hold.item !== "" && hold.item !== "run";
  return (
    <li class="banner warn">
      <b>
        {REASONS[hold.reason] ?? hold.reason.replaceAll("_", " ")}
        {isItem ? ` (${hold.item ?? ""})` : ""}
      </b>
      {hold.detail ? `: ${hold.detail}` : ""}{" "}
      <small>
        for <Age at={hold.since} suffix="" />
        {hold.by && hold.by !== "controller" ? `, by ${hold.by}` : ""}
      </small>
    </li>
  );
}

function Countdown({ at }: { at: string }) {
  const seconds = (Date.parse(at) - useNow()) / 1000;
  return (
    <time dateTime={at} title={utc(at)}>
      {seconds > 0 ? `in ${duration(seconds)}` : "now"} (<Clock at={at} />)
    </time>
  );
}

function Bar({ progress }: { progress: Progress }) {
  const isRows = progress.of_rows !== undefined;
  const passed = isRows ? (progress.rows ?? 0) : (progress.passed_seconds ?? 0);
  const of = isRows ? (progress.of_rows ?? 0) : (progress.of_seconds ?? 0);
  const words = isRows
    ? `${passed.toLocaleString("en")}${of > 0 ? ` of ${of.toLocaleString("en")}` : ""} rows, ${progress.rows_per_second ?? 0} a second`
    : `${duration(passed)} of ${duration(of)}`;
  return (
    <p class="bar">
      <label>
        <span>
          {progress.what}: {words}
        </span>
        {of > 0 && <progress value={Math.min(passed, of)} max={of} />}
      </label>
    </p>
  );
}
