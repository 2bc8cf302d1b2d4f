import type { Offer, Status } from "../../types";
import { Commands } from "../../ui/commands";
import { Age, Clock } from "../../ui/time";

/** What waits for a person, each with the buttons of those who may answer. */
export function WaitingItems(props: {
  waiting: Status["waiting"];
  offers: readonly Offer[];
  ask: (offer: Offer) => void;
}) {
  if (props.waiting.length === 0) return null;
  return (
    <section aria-labelledby="waiting">
      <h2 id="waiting">Waits for an answer</h2>
      {props.waiting.map((item) => (
        <article key={item.item} class="card">
          <h3>{item.item}</h3>
          <p>{item.text}</p>
          <p class="quiet">
            {item.kind.replaceAll("_", " ")}
            {item.by.length > 0 && <>, from {item.by.join(", ")}</>}
            {item.until !== null && (
              <>
                , until <Clock at={item.until} />
              </>
            )}
            {(item.approved_by?.length ?? 0) > 0 && <>; approved by {item.approved_by?.join(", ")}</>}
          </p>
          <Commands offers={props.offers.filter((offer) => offer.item === item.item)} ask={props.ask} />
        </article>
      ))}
    </section>
  );
}

/** What is told to whom next, and who can't be told. *offers*: the button that ends it. */
export function Escalations(props: {
  notifications: Status["notifications"];
  offers: readonly Offer[];
  ask: (offer: Offer) => void;
}) {
  const { escalations, failing } = props.notifications;
  if (escalations.length + failing.length === 0) return null;
  return (
    <section aria-label="Messages">
      {escalations.map((one) => (
        <p key={`${one.what} ${one.since ?? ""}`} class={`banner ${one.acknowledged_by === null ? "bad" : "warn"}`}>
          <b>Escalates:</b> {one.what}, for <Age at={one.since} suffix="" />.{" "}
          {one.acknowledged_by !== null && <>Acknowledged by {one.acknowledged_by}.</>}
          {one.acknowledged_by === null && one.next !== null && (
            <>
              {one.next.channels.join(", ")} will be told at <Clock at={one.next.at} />, unless somebody acknowledges it.
            </>
          )}
        </p>
      ))}
      {escalations.length > 0 && <Commands offers={props.offers} ask={props.ask} />}
      {failing.map((one) => (
        <p key={one.channel} class="banner bad">
          <b>{one.channel} is not told</b>, for <Age at={one.since} suffix="" />: {one.detail}
        </p>
      ))}
    </section>
  );
}
