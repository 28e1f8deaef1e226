//! A run as text.

use std::io::{self, Write};

use super::summary::{Counts, Quantiles, Summary};

/// Prints a summary for people.
///
/// # Errors
/// When standard output is gone.
pub(crate) fn print(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let about = &summary.about;
    writeln!(
        out,
        "{} {}  {}, {} thread{}, {} loop{}",
        about.kind,
        about.target,
        about.runtime,
        about.threads,
        if about.threads == 1 { "" } else { "s" },
        summary.mode,
        summary.arrivals.map(|arrivals| format!(", {arrivals} arrivals")).unwrap_or_default(),
    )?;
    writeln!(out)?;
    step_table(out, summary)?;
    writeln!(out)?;
    let counts = &summary.counts;
    if let Some(asked) = counts.asked_rate {
        writeln!(out, "asked     {asked}/s  ({} arrivals)", counts.asked)?;
    }
    writeln!(out, "achieved  {}/s over {} s", counts.achieved_rate, summary.duration_s)?;
    writeln!(
        out,
        "started   {} = completed {} + failed {}",
        counts.started,
        counts.completed,
        counts.failed.values().sum::<u64>()
    )?;
    for failure in counts.failures() {
        writeln!(out, "          {failure}")?;
    }
    writeln!(
        out,
        "in flight {} at most; CPU {} µs per start{}",
        summary.peak_in_flight,
        summary.cpu_us_per_start,
        summary.peak_memory_bytes.map(|bytes| format!("; memory {} MiB at most", bytes >> 20)).unwrap_or_default(),
    )?;
    writeln!(out)?;
    writeln!(out, "{:<34}{:>10}{:>10}{:>10}{:>10}{:>10}", "µs", "p50", "p90", "p99", "p99.9", "max")?;
    row(out, "latency, from the due time", counts.latency_us)?;
    row(out, "exchange, from the actual start", counts.exchange_us)?;
    row(out, "lateness of the generator", counts.lateness_us)?;
    for note in &summary.notes {
        writeln!(out, "\n! {note}")?;
    }
    Ok(())
}

fn step_table(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    writeln!(
        out,
        "{:<24}{:>13}{:>11}{:>11}{:>9}{:>9}{:>9}{:>10}{:>10}",
        "step", "from..to s", "asked/s", "achieved/s", "failed", "p50 µs", "p99 µs", "p99.9 µs", "max µs"
    )?;
    for step in &summary.steps {
        let Counts { asked_rate, achieved_rate, failed, latency_us, .. } = &step.counts;
        writeln!(
            out,
            "{:<24}{:>13}{:>11}{:>11.1}{:>9}{:>9}{:>9}{:>10}{:>10}",
            step.label,
            format!("{:.1}..{:.1}", step.from_s, step.to_s),
            asked_rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
            achieved_rate,
            failed.values().sum::<u64>(),
            latency_us.p50,
            latency_us.p99,
            latency_us.p999,
            latency_us.max,
        )?;
    }
    Ok(())
}

fn row(out: &mut impl Write, label: &str, quantiles: Quantiles) -> io::Result<()> {
    let Quantiles { p50, p90, p99, p999, max } = quantiles;
    writeln!(out, "{label:<34}{p50:>10}{p90:>10}{p99:>10}{p999:>10}{max:>10}")
}
