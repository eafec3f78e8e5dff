//! `loadgen run` drives registries with one scenario and prints one JSON line; `loadgen report` compares such lines.

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use flotilla_benches::{
    outcome::Outcome,
    report,
    run::{self, Plan},
    scenario::{Kind, Scenario, Shape},
};
use flotilla_client::Registry;
use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode, time::Duration};
use tokio::time::{Instant, sleep};

/// Load for OCI registries.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one scenario; prints one JSON line; fails if any operation failed.
    Run(Box<Run>),
    /// Compare JSON lines labelled row, side (ours, theirs) and round; prints markdown.
    Report(Report),
}

#[derive(Args)]
struct Run {
    /// What to do.
    #[arg(long, value_enum)]
    scenario: Kind,
    /// Base address, such as http://127.0.0.1:5000; given several times, requests take turns.
    #[arg(long = "url", required = true)]
    urls: Vec<String>,
    /// Blob or layer size in bytes.
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Layers of an image.
    #[arg(long, default_value_t = 10)]
    layers: usize,
    /// Blobs or manifests that reads choose from.
    #[arg(long, default_value_t = 16)]
    objects: usize,
    /// Operations in flight at once.
    #[arg(long, default_value_t = 8)]
    concurrency: usize,
    /// Seconds to measure; operations begun are finished.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Stop after this many operations, if that comes first.
    #[arg(long)]
    count: Option<u64>,
    /// Begin at most this many operations a second.
    #[arg(long)]
    rate: Option<f64>,
    /// Header `Authorization` of each request, such as `Basic …`.
    #[arg(long, env = "LOADGEN_AUTHORIZATION", hide_env_values = true)]
    authorization: Option<String>,
    /// Seconds before measuring begins.
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Longest time of one operation in seconds.
    #[arg(long, default_value_t = 120.0)]
    timeout: f64,
    /// Seconds to wait until every address answers GET /v2/.
    #[arg(long, default_value_t = 0.0)]
    wait: f64,
    /// Seed of content and choices; random if absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Repository to use.
    #[arg(long, default_value = "bench/load")]
    repository: String,
    /// Process whose CPU time and peak memory to report; may be given several times.
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// KEY=VALUE to put into the JSON line; may be given several times.
    #[arg(long = "label", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Args)]
struct Report {
    /// File of JSON lines.
    file: PathBuf,
    /// Fail if a limit is broken.
    #[arg(long)]
    check: bool,
}

fn parse_label(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').context("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => load(*args),
        Command::Report(args) => judge(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(args: Run) -> Result<()> {
    ensure!(args.concurrency > 0 && args.threads > 0 && args.objects > 0, "numbers must be at least 1");
    ensure!(args.rate.is_none_or(|rate| rate >= 0.1 && rate.is_finite()), "a rate is at least 0.1");
    let mut builder = match args.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(args.threads).enable_all().build().context("cannot start the runtime")?;
    let outcome = runtime.block_on(measure(args))?;
    println!("{}", serde_json::to_string(&outcome).context("cannot write JSON")?);
    ensure!(outcome.errors.is_empty(), "operations failed: {:?}", outcome.errors);
    ensure!(outcome.ops > 0, "no operation was finished");
    Ok(())
}

async fn measure(args: Run) -> Result<Outcome> {
    let seconds = |value| Duration::try_from_secs_f64(value).context("a time is a number of seconds");
    let seed = args.seed.unwrap_or_else(rand::random);
    let plan = Plan {
        concurrency: args.concurrency,
        warmup: seconds(args.warmup)?,
        duration: seconds(args.seconds)?,
        count: args.count,
        rate: args.rate,
        timeout: seconds(args.timeout)?,
        seed,
        pids: args.pids,
    };
    let authorized = |registry: Registry| match &args.authorization {
        Some(value) => registry.authorized(value),
        None => Ok(registry),
    };
    for url in &args.urls {
        wait_for(&authorized(Registry::new(url)?)?, url, seconds(args.wait)?).await?;
    }
    let registry = authorized(Registry::spread(&args.urls)?)?;
    let repository = args.repository.parse()?;
    let shape = Shape { size: args.size, layers: args.layers, objects: args.objects };
    let scenario = Scenario::prepare(args.scenario, shape, registry, repository, seed);
    let scenario = scenario.await.context("cannot push what the scenario reads")?;
    let name = args.scenario.to_possible_value().context("a hidden scenario")?.get_name().to_owned();
    run::run(scenario, &plan, &name, args.labels.into_iter().collect::<BTreeMap<_, _>>()).await
}

/// Waits until `registry` at `url` answers, at most `limit`.
async fn wait_for(registry: &Registry, url: &str, limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    while let Err(error) = registry.ping().await {
        if Instant::now() >= end {
            return Err(error).with_context(|| format!("{url} is not ready"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn judge(args: &Report) -> Result<()> {
    let text = fs::read_to_string(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let outcomes: Vec<Outcome> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("a line is no outcome")?;
    let report = report::compare(&outcomes);
    println!("{}", report.markdown);
    for sentence in &report.broken {
        println!("* {sentence}");
    }
    if args.check && !report.broken.is_empty() {
        bail!("{} limits are broken", report.broken.len());
    }
    Ok(())
}
