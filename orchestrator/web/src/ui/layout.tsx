import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { meta, signInPage } from "../api";
import { type Freshness, useNow } from "../live";
import { duration } from "./time";

const LINKS: readonly [string, string][] = [
  ["/", "Runs"],
  ["/approvals", "Approvals"],
  ["/flags", "Flags"],
  ["/check", "Check"],
];

const isHere = (path: string): boolean =>
  path === "/" ? location.pathname === "/" || location.pathname.startsWith("/runs/") : location.pathname === path;

/** What every page has around it. *title* is its heading too, unless there is a *heading*. */
export function Layout(props: {
  title: string;
  heading?: ComponentChildren;
  freshness?: Freshness;
  children: ComponentChildren;
}) {
  useEffect(() => {
    document.title = props.title;
  }, [props.title]);
  return (
    <>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <header class="top">
        <nav aria-label="Pages">
          {LINKS.map(([path, name]) => (
            <a key={path} href={path} aria-current={isHere(path) ? "page" : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <form class="who" method="post" action="/sign-out">
          <span class="clip" title={meta("actor")}>
            {meta("actor")}
          </span>
          <span class="quiet role">{meta("role")}</span>
          <input type="hidden" name="form" value={meta("csrf")} />
          <button class="small">Sign out</button>
        </form>
      </header>
      {props.freshness && <Staleness freshness={props.freshness} />}
      <main id="content" tabIndex={-1}>
        {props.heading ?? <h1>{props.title}</h1>}
        {props.children}
      </main>
    </>
  );
}

/** Says when what is shown is no longer what is, and what to do. Nothing while all is well. */
export function Staleness({ freshness }: { freshness: Freshness }) {
  const now = useNow();
  const isStale = freshness.why !== "";
  return (
    <div role="status" class="staleness">
      {isStale && (
        <p class="banner warn">
          {freshness.isSignedOut ? (
            <>
              Your session is over: <a href={signInPage()}>sign in again</a>.
            </>
          ) : (
            <>{freshness.why} Trying again.</>
          )}{" "}
          <span role="timer" aria-live="off">
            What you see is {duration((now - freshness.since) / 1000)} old.
          </span>
        </p>
      )}
    </div>
  );
}

export function Alert({ children }: { children: ComponentChildren }) {
  return (
    <p role="alert" class="banner bad">
      {children}
    </p>
  );
}
