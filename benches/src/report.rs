//! Rounds of two registries side by side: a markdown table, and whether our side stays within the limits.

use crate::outcome::Outcome;
use std::fmt::Write as _;

/// What must hold for every row, and for some rows more.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest CPU time per operation, ours to theirs.
    pub cpu_max: f64,
    /// Smallest throughput, ours to theirs.
    pub throughput_min: f64,
    /// Largest 99th percentile of latency, ours to theirs.
    pub p99_max: f64,
}

/// The limits of `row`. Rows are named by `compare.sh`.
pub fn limits(row: &str) -> Limits {
    let every = Limits { cpu_max: 1.0, throughput_min: 0.95, p99_max: 1.25 };
    match row {
        "manifest GET by tag" | "manifest GET by digest" | "blob GET 4 KiB" => Limits { cpu_max: 0.125, ..every },
        "push 64 MiB" => Limits { throughput_min: 2.0, ..every },
        _ => every,
    }
}

/// One row's figures of one side: a round each, or their medians.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    throughput: f64,
    bytes: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
    rss: f64,
}

impl Figures {
    fn of(outcome: &Outcome) -> Self {
        Self {
            throughput: outcome.ops_per_second,
            bytes: outcome.bytes_per_second,
            cpu: outcome.cpu_us_per_op.unwrap_or(f64::NAN),
            p50: outcome.latency_us.p50,
            p99: outcome.latency_us.p99,
            rss: outcome.peak_rss_bytes.values().sum::<u64>() as f64,
        }
    }

    fn medians(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            throughput: of(|f| f.throughput),
            bytes: of(|f| f.bytes),
            cpu: of(|f| f.cpu),
            p50: of(|f| f.p50),
            p99: of(|f| f.p99),
            rss: of(|f| f.rss),
        }
    }

    fn cells(&self) -> String {
        let mib = (1 << 20) as f64;
        format!(
            "{:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0}",
            self.throughput,
            self.bytes / mib,
            self.cpu,
            self.p50,
            self.p99,
            self.rss / mib
        )
    }
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// The rendered report and every broken limit.
#[derive(Debug)]
pub struct Report {
    /// Markdown: medians and ratios, then every round.
    pub markdown: String,
    /// One sentence per broken limit, missing side or run with errors.
    pub broken: Vec<String>,
}

/// Compares the runs labelled `side=ours` and `side=theirs`, by their `row`, rows in order of appearance.
pub fn compare(outcomes: &[Outcome]) -> Report {
    let mut rows: Vec<&str> = Vec::new();
    for row in outcomes.iter().map(|outcome| label(outcome, "row")) {
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let mut broken = Vec::new();
    let mut medians = String::from(
        "| row | CPU/op, ours : theirs (µs) | ratio | ops/s, ours : theirs | ratio | p99, ours : theirs (µs) | ratio | \
         peak RSS (MiB) |\n|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut rounds = String::from(
        "| row | round | side | ops/s | MiB/s | CPU/op (µs) | p50 (µs) | p99 (µs) | peak RSS (MiB) |\n\
         |---|---:|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let runs: Vec<&Outcome> = outcomes.iter().filter(|outcome| label(outcome, "row") == row).collect();
        for run in &runs {
            let (round, side) = (label(run, "round"), label(run, "side"));
            line(&mut rounds, format_args!("| {row} | {round} | {side} | {} |", Figures::of(run).cells()));
            if !run.errors.is_empty() {
                broken.push(format!("{row}, round {round}, {side}: errors {:?}", run.errors));
            }
        }
        let side = |side| -> Vec<Figures> {
            runs.iter().filter(|run| label(run, "side") == side).map(|run| Figures::of(run)).collect()
        };
        let (ours, theirs) = (Figures::medians(&side("ours")), Figures::medians(&side("theirs")));
        let (cpu, speed, p99) = (ours.cpu / theirs.cpu, ours.throughput / theirs.throughput, ours.p99 / theirs.p99);
        line(
            &mut medians,
            format_args!(
                "| {row} | {:.0} : {:.0} | {cpu:.3} | {:.1} : {:.1} | {speed:.2} | {:.0} : {:.0} | {p99:.2} | {:.0} : {:.0} |",
                ours.cpu,
                theirs.cpu,
                ours.throughput,
                theirs.throughput,
                ours.p99,
                theirs.p99,
                ours.rss / f64::from(1 << 20),
                theirs.rss / f64::from(1 << 20)
            ),
        );
        let limits = limits(row);
        let mut hold = |name: &str, holds: bool, ratio: f64, limit: f64| {
            if !holds {
                broken.push(format!("{row}: {name} is {ratio:.3} of theirs, the limit is {limit}"));
            }
        };
        // A missing figure is NaN, which satisfies no comparison.
        hold("CPU per operation", cpu <= limits.cpu_max, cpu, limits.cpu_max);
        hold("throughput", speed >= limits.throughput_min, speed, limits.throughput_min);
        hold("p99", p99 <= limits.p99_max, p99, limits.p99_max);
    }
    Report { markdown: format!("Medians of all rounds:\n\n{medians}\nEvery round:\n\n{rounds}"), broken }
}

fn line(text: &mut String, row: std::fmt::Arguments<'_>) {
    writeln!(text, "{row}").expect("a String takes everything");
}

fn label<'a>(outcome: &'a Outcome, name: &str) -> &'a str {
    outcome.labels.get(name).map_or("?", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Latency;
    use std::collections::BTreeMap;

    fn outcome(row: &str, side: &str, round: usize, cpu: f64, speed: f64) -> Outcome {
        let labels = [("row", row.to_owned()), ("side", side.to_owned()), ("round", round.to_string())];
        Outcome {
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            scenario: "push".to_owned(),
            seed: 1,
            concurrency: 1,
            ops: 10,
            seconds: 1.0,
            ops_per_second: speed,
            bytes_per_second: speed,
            latency_us: Latency { p50: 1.0, p90: 1.0, p99: 1.0, max: 1.0 },
            cpu_us_per_op: Some(cpu),
            client_cpu_us_per_op: 1.0,
            peak_rss_bytes: BTreeMap::new(),
            errors: BTreeMap::new(),
        }
    }

    #[test]
    fn the_median_ignores_outliers_and_averages_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn limits_are_judged_on_medians() {
        let mut runs = Vec::new();
        for (round, cpu) in [90.0, 500.0, 80.0].into_iter().enumerate() {
            runs.push(outcome("push 1 MiB", "ours", round, cpu, 100.0));
            runs.push(outcome("push 1 MiB", "theirs", round, 100.0, 100.0));
        }
        assert_eq!(compare(&runs).broken, Vec::<String>::new());
        runs.push(outcome("push 64 MiB", "ours", 0, 50.0, 199.0));
        runs.push(outcome("push 64 MiB", "theirs", 0, 100.0, 100.0));
        let report = compare(&runs);
        assert_eq!(report.broken, ["push 64 MiB: throughput is 1.990 of theirs, the limit is 2"]);
        assert!(report.markdown.contains("| push 1 MiB | 90 : 100 | 0.900 |"), "{}", report.markdown);
    }

    #[test]
    fn a_missing_side_or_an_error_breaks_the_limits() {
        let mut run = outcome("blob GET 4 KiB", "ours", 0, 1.0, 1.0);
        run.errors.insert("timeout".to_owned(), 1);
        assert_eq!(compare(&[run]).broken.len(), 4);
    }
}
