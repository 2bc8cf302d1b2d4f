import { useEffect, useState } from "preact/hooks";
import { runPage } from "../../api";
import { useRun } from "../../following";
import type { Accepted, Offer, Status } from "../../types";
import { CommandDialog, Commands, WayBack, labelOf, sentence } from "../../ui/commands";
import { Alert, Layout } from "../../ui/layout";
import { RunChip } from "../../ui/chip";
import { About } from "./about";
import { ExposurePlot, GateView } from "./evidence";
import { Glance } from "./glance";
import { Journal } from "./journal";
import { Stages } from "./stages";
import { Escalations, WaitingItems } from "./waiting";

export function RunPage({ name }: { name: string }) {
  const { status, offers, course, freshness, refresh, loadEarlier } = useRun(name);
  const [accepted, setAccepted] = useState<Accepted | null>(null);
  const [asked, setAsked] = useState<Offer | null>(null);
  const done = (answer: Accepted): void => {
    setAccepted(answer);
    refresh();
  };
  useEffect(() => {
    if (accepted === null) return undefined;
    const timer = setTimeout(() => setAccepted(null), 8000);
    return () => clearTimeout(timer);
  }, [accepted]);

  if (status === null)
    return (
      <Layout title={name} freshness={freshness}>
        {freshness.why === "" ? <p class="empty">Loading…</p> : <Alert>{freshness.why}</Alert>}
      </Layout>
    );
  const possible = (offers?.commands ?? []).filter((offer) => offer.refused === null);
  const answers = possible.filter((offer) => offer.item !== null);
  const isTold = status.notifications.escalations.length > 0; // its button stands there
  const [first, others] = ordered(possible.filter((offer) => offer.item === null && !(isTold && isAck(offer))));
  return (
    <Layout
      title={`${status.run}: ${wordOf(status)}`}
      freshness={freshness}
      heading={
        <div class="runhead">
          <h1>{status.run}</h1>
          <RunChip run={status} />
          <a href={runPage(status.run, "/report")}>Report</a>
        </div>
      }
    >
      <Glance status={status} marks={course?.marks ?? []} />
      <Commands offers={first} ask={setAsked} />
      <div role="status">
        {accepted !== null && <p class="banner good">{sentence(`${accepted.command} was accepted`)}</p>}
      </div>
      <Escalations notifications={status.notifications} offers={possible.filter(isAck)} ask={setAsked} />
      <WaitingItems waiting={status.waiting} offers={answers} ask={setAsked} />
      <More offers={others} refused={offers?.commands ?? []} ask={setAsked} />
      <About about={status.about} />
      <Stages status={status} />
      {course !== null && <ExposurePlot status={status} course={course} />}
      <GateView status={status} course={course} />
      <Back status={status} offers={possible} />
      <Rest status={status} />
      {course !== null && <Journal course={course} run={status.run} onEarlier={loadEarlier} />}
      {asked !== null && (
        <CommandDialog run={status.run} offer={asked} onDone={done} onClose={() => setAsked(null)} />
      )}
    </Layout>
  );
}

const wordOf = (status: Status): string =>
  status.outcome?.replaceAll("_", " ") ?? (status.holds.length > 0 ? "held" : status.phase.replaceAll("_", " "));

const isAck = (offer: Offer): boolean => offer.command === "ack";

/** What one thinks of first at three in the morning, and the rest. */
function ordered(offers: readonly Offer[]): [Offer[], Offer[]] {
  const isFirst = (offer: Offer): boolean =>
    ["pause", "resume", "advance", "ack", "stop"].includes(offer.command) ||
    (offer.command === "rollback" && offer.stage === null && !offer.with_schema);
  return [offers.filter(isFirst), offers.filter((offer) => !isFirst(offer))];
}

function More(props: { offers: readonly Offer[]; refused: readonly Offer[]; ask: (offer: Offer) => void }) {
  const refused = props.refused.filter((offer) => offer.refused !== null);
  if (props.offers.length + refused.length === 0) return null;
  return (
    <details class="more">
      <summary>
        More commands{refused.length > 0 ? `, and why ${refused.length} would be refused now` : ""}
      </summary>
      <Commands offers={props.offers} ask={props.ask} />
      {refused.length > 0 && (
        <dl class="facts">
          {refused.map((offer) => (
            <div key={labelOf(offer)}>
              <dt>{labelOf(offer)}</dt>
              <dd>{sentence(offer.refused ?? "")}</dd>
            </div>
          ))}
        </dl>
      )}
    </details>
  );
}

/** What a rollback would bring back; while one is under way, how far it is. */
function Back({ status, offers }: { status: Status; offers: readonly Offer[] }) {
  if (status.rollback !== null) return <UnderWay rollback={status.rollback} isUnderWay={status.outcome === null} />;
  const offer = offers.find((one) => one.command === "rollback" && one.stage === null && !one.with_schema);
  if (offer !== undefined)
    return (
      <section aria-labelledby="back">
        <h2 id="back">If it is rolled back</h2>
        <WayBack offer={offer} />
      </section>
    );
  if (status.stays_on_rollback.length === 0) return null;
  return (
    <section aria-labelledby="back">
      <h2 id="back">If it is rolled back</h2>
      <p>Everything comes back but:</p>
      <ul>
        {status.stays_on_rollback.map((text) => (
          <li key={text}>{text}</li>
        ))}
      </ul>
    </section>
  );
}

function UnderWay({ rollback, isUnderWay }: { rollback: NonNullable<Status["rollback"]>; isUnderWay: boolean }) {
  const through = rollback.nodes.filter((node) => node.result !== null).length;
  return (
    <section aria-labelledby="back">
      <h2 id="back">
        The way back: {through} of {rollback.nodes.length}
      </h2>
      <p>
        {rollback.by === "controller" ? "Begun by itself" : `Asked for by ${rollback.by}`}
        {rollback.reason ? `: ${rollback.reason}` : ""}
      </p>
      <ol class="nodes">
        {rollback.nodes.map((node) => (
          <li key={node.id}>
            {node.id} <span class="quiet">{node.result?.replaceAll("_", " ") ?? "not yet"}</span>
            {node.detail ? `: ${node.detail}` : ""}
          </li>
        ))}
      </ol>
      {isUnderWay && rollback.left.length > 0 && (
        <>
          <h3>Stays</h3>
          <ul>
            {rollback.left.map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

function Rest({ status }: { status: Status }) {
  return (
    <>
      {status.exceptions.length > 0 && (
        <section aria-labelledby="exceptions">
          <h2 id="exceptions">What is not as it was, or was cut</h2>
          <ul>
            {status.exceptions.map((text) => (
              <li key={text}>{text}</li>
            ))}
          </ul>
        </section>
      )}
      {status.pins.length > 0 && (
        <section aria-labelledby="pins">
          <h2 id="pins">Pinned flags</h2>
          <ul>
            {status.pins.map((pin) => (
              <li key={`${pin.flag} ${pin.source}`}>
                <b>{pin.flag}</b>: {pin.keys.join(", ")}, by {pin.source}
                {pin.kept ? ", kept" : ""}
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}
