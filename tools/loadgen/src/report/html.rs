//! A report as a page that needs nothing else: no script, no network; light or dark as the reader has it.

use super::chart::{Chart, Series};
use super::compare::Comparison;
use super::text::{millis, number, seconds};
use super::{Moment, Point, Report};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#667;--page:#fff;--line:#dde;--s0:#0a66c2;--s1:#c2410c;--s2:#15803d;--bad:#b91c1c}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--dim:#9aa3ad;--page:#14171a;--line:#2c3238;--s0:#63b3ff;--s1:#ffa066;--s2:#5fd38a;--bad:#ff7b72}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{color:var(--dim);margin:.25rem 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
.tiles{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}.tiles div{border:1px solid var(--line);border-radius:.5rem;padding:.5rem 1rem}.tiles b{display:block;font-size:1.3rem}
figure{margin:1rem 0}figcaption{font-weight:600}svg{width:100%;height:auto}svg text{fill:var(--dim);font-size:11px}text.y{text-anchor:end}text.x{text-anchor:middle}
.grid{stroke:var(--line);fill:none}.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.line.s0{stroke:var(--s0)}.line.s1{stroke:var(--s1)}.line.s2{stroke:var(--s2)}circle.s0{fill:var(--s0)}circle.s1{fill:var(--s1)}circle.s2{fill:var(--s2)}
.key{font-weight:400;margin-left:.75rem}.key.s0{color:var(--s0)}.key.s1{color:var(--s1)}.key.s2{color:var(--s2)}.bad{color:var(--bad)}
";

/// The page of one run.
pub(super) fn run(report: &Report) -> String {
    let mut body = format!(
        "<h1>{}</h1><p>{}; {}</p>{}",
        escape(&report.title),
        escape(&report.made),
        escape(&report.pace.line()),
        tiles(report)
    );
    if report.stopped {
        body += &format!(
            "<p class=\"bad\">stopped before its time; {} requests were under way</p>",
            report.cut_off
        );
    }
    body += &over_time("Successes per second", &[("rate", &report.timeline, Moment::rate)]);
    body += &over_time(
        "Latency over time, ms",
        &[("p50", &report.timeline, |moment| moment.p50), ("p99", &report.timeline, |moment| moment.p99)],
    );
    if report.errors > 0 {
        body += &over_time(
            "Errors per slice of time",
            &[("errors", &report.timeline, |moment| moment.errors as f64)],
        );
    }
    body += &shares(&[("latency", &report.distribution)]);
    body += "<h2>Latency</h2>";
    body += &table(
        &["", "of all successes"],
        report.latency.rows().map(|(name, value)| vec![name.to_owned(), millis(value)]),
    );
    body += "<h2>What came back</h2>";
    let statuses = report
        .statuses
        .iter()
        .map(|status| vec![format!("status {}", status.status), status.count.to_string()]);
    let failures =
        report.failures.iter().map(|failure| vec![failure.class.clone(), failure.count.to_string()]);
    body += &table(&["", "count"], statuses.chain(failures));
    if !report.examples.is_empty() {
        body += "<h2>Examples of what was wrong</h2>";
        body += &table(
            &["", ""],
            report.examples.iter().map(|example| vec![example.what.clone(), example.text.clone()]),
        );
    }
    body += "<h2>Targets</h2>";
    body += &targets(report);
    if let Some(records) = &report.records {
        body += &format!(
            "<h2>Records</h2><p>{} of {} found in {}; {} missing</p>",
            records.found,
            records.checked,
            seconds(records.seconds),
            records.missing
        );
        body += &table(&["missing"], records.missing_ids.iter().map(|id| vec![id.clone()]));
    }
    if !report.thresholds.is_empty() {
        body += "<h2>Bounds</h2>";
        let row = |threshold: &super::Threshold| {
            let verdict = if threshold.is_broken() { "not held" } else { "held" };
            vec![threshold.what.clone(), number(threshold.value), number(threshold.limit), verdict.to_owned()]
        };
        body += &table(&["", "measured", "at most", ""], report.thresholds.iter().map(row));
    }
    page(&report.title, &body)
}

/// The page of two runs.
pub(super) fn comparison(comparison: &Comparison) -> String {
    let Comparison { before, after, rows } = comparison;
    let mut body = format!(
        "<h1>{} → {}</h1><p>before: {}; {}</p><p>after: {}; {}</p>",
        escape(&before.title),
        escape(&after.title),
        escape(&before.made),
        escape(&before.pace.line()),
        escape(&after.made),
        escape(&after.pace.line())
    );
    let shown = rows.iter().map(|row| {
        vec![
            row.what.to_owned(),
            number(row.before),
            number(row.after),
            row.ratio.map(number).unwrap_or_default(),
        ]
    });
    body += &table(&["", "before", "after", "after ÷ before"], shown);
    body += &over_time(
        "Successes per second",
        &[("before", &before.timeline, Moment::rate), ("after", &after.timeline, Moment::rate)],
    );
    body += &over_time(
        "p99 over time, ms",
        &[("before", &before.timeline, |moment| moment.p99), ("after", &after.timeline, |moment| moment.p99)],
    );
    body += &shares(&[("before", &before.distribution), ("after", &after.distribution)]);
    page("comparison of two runs", &body)
}

fn tiles(report: &Report) -> String {
    let tile = |name: &str, value: String| format!("<div>{name}<b>{value}</b></div>");
    let tiles = [
        tile("successes/s", number(report.rate)),
        tile("successes", report.successes.to_string()),
        tile("errors", report.errors.to_string()),
        tile("p50", millis(report.latency.p50)),
        tile("p99", millis(report.latency.p99)),
        tile("p99.99", millis(report.latency.p99_99)),
        tile("measured", seconds(report.seconds)),
    ];
    format!("<div class=\"tiles\">{}</div>", tiles.concat())
}

fn targets(report: &Report) -> String {
    let rows = report.targets.iter().map(|target| {
        let headers = target.headers.iter().map(|(name, value)| format!("{name}: {value}"));
        vec![
            target.name.clone(),
            format!("{} {}", target.method, target.url),
            headers.collect::<Vec<_>>().join(", "),
            format!("{} bytes", target.body_bytes),
            target.weight.to_string(),
            target.successes.to_string(),
            target.errors.to_string(),
            millis(target.latency.p50),
            millis(target.latency.p99),
        ]
    });
    table(&["name", "request", "headers", "body", "weight", "successes", "errors", "p50", "p99"], rows)
}

/// A line over time: its name, where it is from, and what of it.
type OverTime<'a> = (&'static str, &'a [Moment], fn(&Moment) -> f64);

fn over_time(title: &'static str, lines: &[OverTime<'_>]) -> String {
    let series = lines.iter().map(|(name, timeline, value)| {
        // A point stands in the middle of its time.
        let points = timeline.iter().map(|moment| (moment.at + moment.seconds / 2.0, value(moment)));
        Series { name, points: points.collect() }
    });
    Chart { title, x: " s", x_ticks: Vec::new(), series: series.collect() }.render()
}

/// Latency over the share of successes; each nine has the same room.
fn shares(lines: &[(&'static str, &[Point])]) -> String {
    let nines = |share: f64| -(1.0 - share).max(1e-9).log10();
    let series = lines.iter().map(|(name, points)| Series {
        name,
        points: points.iter().map(|point| (nines(point.share), point.ms)).collect(),
    });
    let ticks = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
    let x_ticks = (0u8..).zip(ticks).map(|(nines, text)| (f64::from(nines), text.to_owned())).collect();
    let title = "Share of successes that took at most so many ms";
    Chart { title, x: "", x_ticks, series: series.collect() }.render()
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = String>| -> String {
        cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(&cell))).collect()
    };
    let head = cells("th", &mut head.iter().map(|name| (*name).to_owned()));
    let rows = rows.into_iter().map(|row| format!("<tr>{}</tr>", cells("td", &mut row.into_iter())));
    format!("<table><tr>{head}</tr>{}</table>", rows.collect::<String>())
}

fn page(title: &str, body: &str) -> String {
    // The policy keeps a reader's browser from doing anything but showing it, whatever was let through.
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title><style>{STYLE}</style></head>\
         <body>{body}</body></html>\n",
        escape(title)
    )
}

/// Text as it stands in a page.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use crate::report::tests::sample;

    #[test]
    fn a_page_needs_nothing_else_and_runs_nothing_of_others() {
        let page = super::run(&sample());
        assert!(!page.contains("<script") && !page.contains("<b>&"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("&lt;b&gt;&amp;&quot;&#39;&lt;/b&gt;"));
        for outside in ["src=", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.matches("<svg").count() == 4 && page.contains("prefers-color-scheme"));
        assert!(page.contains("Authorization: ***"));
    }
}
