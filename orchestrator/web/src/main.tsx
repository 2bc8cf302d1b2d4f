import "uplot/dist/uPlot.min.css";
import "./style.css";
import { type ComponentType, render } from "preact";
import { ApprovalsPage } from "./pages/approvals";
import { CheckPage } from "./pages/check";
import { FlagsPage } from "./pages/flags";
import { ReportPage } from "./pages/report";
import { RunPage } from "./pages/run/run";
import { RunsPage } from "./pages/runs";
import { Layout } from "./ui/layout";

/** What stands behind the addresses that the server serves the shell for; `name` is the run's, where there is one. */
const ROUTES: readonly [RegExp, ComponentType<{ name: string }>][] = [
  [/^\/$/, RunsPage],
  [/^\/runs\/([^/]+)$/, RunPage],
  [/^\/runs\/([^/]+)\/report$/, ReportPage],
  [/^\/approvals$/, ApprovalsPage],
  [/^\/flags$/, FlagsPage],
  [/^\/check$/, CheckPage],
];

function Nothing() {
  return (
    <Layout title="There is no such page">
      <p>
        <a href="/">All runs</a>
      </p>
    </Layout>
  );
}

function chosen(path: string) {
  for (const [pattern, Page] of ROUTES) {
    const found = pattern.exec(path);
    if (found !== null) return <Page name={decodeURIComponent(found[1] ?? "")} />;
  }
  return <Nothing />;
}

const place = document.getElementById("page");
if (place !== null) {
  place.replaceChildren(); // what the server wrote for those without a script
  render(chosen(location.pathname), place);
}
