//! A run as one page that needs nothing else: no network, no fonts, no scripts but a few lines of its own.

use std::fmt::Write;

use super::plot::{self, Line};
use super::summary::{Counts, Moment, Quantiles, Summary};

/// The page.
pub(super) fn page(summary: &Summary) -> String {
    let about = &summary.about;
    let title = escape(&format!("tidepool-load {} {}", about.kind, about.target));
    let mut body = String::new();
    // Writing into a string can't fail.
    let _ = write!(
        body,
        "<h1>{title}</h1><p class=\"sub\">{} · {} thread(s) · {} loop{}</p>",
        about.runtime,
        about.threads,
        summary.mode,
        summary.arrivals.map(|arrivals| format!(" · {arrivals} arrivals")).unwrap_or_default(),
    );
    for note in &summary.notes {
        let _ = write!(body, "<p class=\"note\">{}</p>", escape(note));
    }
    tiles(&mut body, summary);
    let _ = write!(body, "<h2>Rate</h2><figure data-plot=\"rate\">{}</figure>", rate_plot(summary));
    let _ = write!(
        body,
        "<h2>Latency from the due time</h2><figure data-plot=\"latency\">{}</figure>",
        latency_plot(summary)
    );
    let _ = write!(body, "<h2>Histogram of latency from the due time</h2><figure>{}</figure>", histogram(summary));
    quantile_table(&mut body, &summary.counts);
    step_table(&mut body, summary);
    // `</` can't appear in it: every string of a timeline is a number.
    let data = serde_json::to_string(&summary.timeline).unwrap_or_else(|_| "[]".to_owned());
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style><body><main>{body}</main>\
         <div id=\"tip\" hidden></div><script>const T={data};{SCRIPT}</script></body></html>\n"
    )
}

fn tiles(body: &mut String, summary: &Summary) {
    let counts = &summary.counts;
    let failed: u64 = counts.failed.values().sum();
    body.push_str("<section class=\"tiles\">");
    let mut tile = |name: &str, value: String, bad: bool| {
        let class = if bad { " class=\"bad\"" } else { "" };
        let _ = write!(body, "<div{class}><b>{value}</b><span>{name}</span></div>");
    };
    tile("asked", counts.asked_rate.map_or_else(|| "as it comes".to_owned(), |rate| format!("{rate:.1}/s")), false);
    tile("achieved", format!("{:.1}/s", counts.achieved_rate), !summary.kept_rate);
    tile("started", counts.started.to_string(), false);
    tile("completed", counts.completed.to_string(), false);
    tile("failed", failed.to_string(), failed > 0);
    tile("latency p99", time(counts.latency_us.p99 as f64), false);
    tile("latency max", time(counts.latency_us.max as f64), false);
    tile("lateness p99", time(counts.lateness_us.p99 as f64), !summary.kept_rate);
    body.push_str("</section>");
    if failed > 0 {
        let _ = write!(body, "<p>Failed: {}</p>", counts.failures().collect::<Vec<_>>().join(", "));
    }
}

fn points(summary: &Summary, value: impl Fn(&Moment) -> f64) -> Vec<(f64, f64)> {
    summary.timeline.iter().map(|moment| (moment.at_s, value(moment))).collect()
}

fn rate_plot(summary: &Summary) -> String {
    let mut lines = Vec::new();
    if summary.counts.asked_rate.is_some() {
        lines.push(Line { name: "asked", class: "c0", points: points(summary, |moment| moment.asked_rate) });
    }
    lines.push(Line { name: "started", class: "c1", points: points(summary, |moment| moment.started_rate) });
    lines.push(Line { name: "completed", class: "c2", points: points(summary, |moment| moment.completed_rate) });
    lines.push(Line { name: "failed", class: "c3", points: points(summary, |moment| moment.failed_rate) });
    plot::over_time(&lines, false, |rate| format!("{rate:.0}/s"))
}

fn latency_plot(summary: &Summary) -> String {
    let line = |name, class, value: fn(&Quantiles) -> u64| Line {
        name,
        class,
        points: points(summary, |moment| value(&moment.latency_us) as f64),
    };
    let lines = [
        line("p50", "c1", |quantiles| quantiles.p50),
        line("p99", "c2", |quantiles| quantiles.p99),
        line("max", "c3", |quantiles| quantiles.max),
    ];
    plot::over_time(&lines, true, time)
}

fn histogram(summary: &Summary) -> String {
    let bins: Vec<(String, u64)> = summary.histogram.iter().map(|bin| (time(bin.to_us as f64), bin.count)).collect();
    plot::bars(&bins)
}

fn quantile_table(body: &mut String, counts: &Counts) {
    body.push_str(
        "<h2>Distributions</h2><table><tr><th></th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>",
    );
    for (name, quantiles) in [
        ("latency, from the due time", counts.latency_us),
        ("exchange, from the actual start", counts.exchange_us),
        ("lateness of the generator", counts.lateness_us),
    ] {
        let _ = write!(body, "<tr><td>{name}</td>");
        let Quantiles { p50, p90, p99, p999, max } = quantiles;
        for value in [p50, p90, p99, p999, max] {
            let _ = write!(body, "<td>{}</td>", time(value as f64));
        }
        body.push_str("</tr>");
    }
    body.push_str("</table>");
}

fn step_table(body: &mut String, summary: &Summary) {
    body.push_str(
        "<h2>Steps</h2><table><tr><th>step</th><th>from</th><th>to</th><th>asked</th><th>achieved</th>\
         <th>started</th><th>completed</th><th>failed</th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th></tr>",
    );
    for step in &summary.steps {
        let counts = &step.counts;
        let _ = write!(
            body,
            "<tr><td>{}</td><td>{:.1} s</td><td>{:.1} s</td><td>{}</td><td>{:.1}/s</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&step.label),
            step.from_s,
            step.to_s,
            counts.asked_rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}/s")),
            counts.achieved_rate,
            counts.started,
            counts.completed,
            counts.failed.values().sum::<u64>(),
            time(counts.latency_us.p50 as f64),
            time(counts.latency_us.p99 as f64),
            time(counts.latency_us.p999 as f64),
            time(counts.latency_us.max as f64),
        );
    }
    body.push_str("</table>");
}

/// Microseconds in the unit that reads best.
fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us >= 1e6 => (us / 1e6, "s"),
        us if us >= 1e3 => (us / 1e3, "ms"),
        us => (us, "µs"),
    };
    let text = format!("{value:.2}");
    format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_typed_can_not_become_markup() {
        assert_eq!(escape("<script>\"&"), "&lt;script&gt;&quot;&amp;");
    }

    #[test]
    fn a_time_is_shown_in_the_unit_that_reads_best() {
        assert_eq!([time(7.0), time(1500.0), time(2_000_000.0)], ["7 µs", "1.5 ms", "2 s"]);
    }
}
