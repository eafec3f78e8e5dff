//! The server: arguments → configuration → node → wait. Also answers to the name `registry`.

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use flotilla_node::{command, config, dev, lifecycle::Lifecycle, node, telemetry};
use flotilla_proto::admin::Collect;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a configuration with mistakes.
const MISTAKES: u8 = 2;
/// What a soft stop may take beyond `http.draintimeout`: handing over leadership and the last checkpoint.
const HAND_OVER_MAX: Duration = Duration::from_secs(15);
/// After a hard stop the node has this long to end by itself.
const HARD_STOP_MAX: Duration = Duration::from_secs(10);

/// A highly available OCI registry.
#[derive(Parser)]
#[command(name = "flotilla", version, disable_version_flag = true, arg_required_else_help = true)]
struct Arguments {
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node
    Serve {
        /// Configuration file [default: /etc/docker/registry/config.yml, /etc/distribution/config.yml]
        config: Option<PathBuf>,
    },
    /// Delete what no image needs: asks the running node, and nothing has to stop
    GarbageCollect {
        /// Only say what would be deleted
        #[arg(short, long)]
        dry_run: bool,
        /// Delete manifests that no tag names, too
        #[arg(short = 'm', long)]
        delete_untagged: bool,
        /// Print nothing but errors
        #[arg(short, long)]
        quiet: bool,
        /// The configuration that the node runs on [default: as for serve]
        config: Option<PathBuf>,
    },
    /// Look at a configuration without running a node
    #[command(subcommand)]
    Config(Config),
    /// Run a whole cluster on this machine, for trying and testing
    Dev(dev::Options),
}

#[derive(Subcommand)]
enum Config {
    /// Print each value that a node would use and where it comes from, or every mistake
    Check {
        /// Configuration file [default: as for serve]
        config: Option<PathBuf>,
    },
}

/// The arguments; help and version show the name that the program was called by, if that is registry:2's.
fn arguments() -> Arguments {
    let called = std::env::args_os().next().map(PathBuf::from);
    let mut command = Arguments::command();
    if called.as_deref().and_then(Path::file_name).is_some_and(|name| name == "registry") {
        let version = concat!("flotilla v", env!("CARGO_PKG_VERSION"));
        command = command.name("registry").bin_name("registry").version(version);
    }
    let matches = command.get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn main() -> ExitCode {
    let arguments = arguments();
    raise_open_files();
    // Huge pages make every sparsely used region of the allocator and of thread stacks resident. Without the call, only more
    // memory is used.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("flotilla: a TLS provider is installed already");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let code = match arguments.command {
        Command::Serve { config } => serve(&runtime, config.as_deref()),
        Command::GarbageCollect { dry_run, delete_untagged, quiet, config } => {
            runtime.block_on(garbage_collect(config.as_deref(), Collect { dry_run, delete_untagged }, quiet))
        }
        Command::Config(Config::Check { config }) => match command::check(config.as_deref(), env()) {
            Ok(page) => print(&page),
            Err(mistakes) => refused(&mistakes),
        },
        Command::Dev(options) => match runtime.block_on(dev::run(options)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
    };
    // Blocking file work that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("flotilla: {error:#}");
    ExitCode::FAILURE
}

fn refused(mistakes: &config::Mistakes) -> ExitCode {
    eprintln!("flotilla: {mistakes}");
    ExitCode::from(MISTAKES)
}

fn env() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
}

fn print(page: &str) -> ExitCode {
    match std::io::stdout().write_all(page.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&anyhow::Error::new(error).context("standard output")),
    }
}

async fn garbage_collect(file: Option<&Path>, collect: Collect, quiet: bool) -> ExitCode {
    let config = match config::load(file, env()) {
        Ok(loaded) => loaded.config,
        Err(mistakes) => return refused(&mistakes),
    };
    match command::garbage_collect(&config, collect).await {
        Ok(collected) => {
            let printed = if quiet { ExitCode::SUCCESS } else { print(&command::report(&collected)) };
            match collected.breaker {
                Some(reason) => failed(&anyhow::anyhow!("collection is paused now, by the breaker: {reason}")),
                None => printed,
            }
        }
        Err(error) => failed(&error),
    }
}

fn serve(runtime: &tokio::runtime::Runtime, file: Option<&Path>) -> ExitCode {
    let config::Loaded { config, notices } = match config::load(file, env()) {
        Ok(loaded) => loaded,
        Err(mistakes) => return refused(&mistakes),
    };
    let variable = |name| std::env::var(name).unwrap_or_default();
    let export = !variable("OTEL_EXPORTER_OTLP_ENDPOINT").is_empty() && variable("OTEL_TRACES_EXPORTER") != "none";
    // The exporter's connection lives on the runtime.
    let telemetry = {
        let _inside = runtime.enter();
        telemetry::init(&config.log, config.cluster.as_ref().map_or("single", |cluster| &cluster.advertise), export)
    };
    let telemetry = match telemetry {
        Ok(telemetry) => telemetry,
        Err(error) => return failed(&error),
    };
    for notice in notices {
        info!(key = notice.key, "{notice}");
    }
    let result = runtime.block_on(run(config));
    if let Err(error) = &result {
        tracing::error!("the node failed: {error:#}");
    }
    drop(telemetry);
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(config: config::Config) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hup = signal(SignalKind::hangup())?;
    let lifecycle = Lifecycle::new();
    let soft_stop_max = config.http.drain_timeout + HAND_OVER_MAX;
    let node = node::run(config, lifecycle.clone());
    tokio::pin!(node);
    loop {
        tokio::select! {
            result = &mut node => return result,
            () = either(&mut term, &mut int) => break,
            // It would end the process at once.
            Some(()) = hup.recv() => info!("SIGHUP has no effect: users, keys and certificates are read again as they change"),
        }
    }
    info!("stopping: requests that run may end");
    lifecycle.leave();
    tokio::select! {
        result = &mut node => return result,
        () = either(&mut term, &mut int) => warn!("second signal: stopping at once"),
        () = tokio::time::sleep(soft_stop_max) => warn!("the soft stop takes too long: stopping at once"),
    }
    lifecycle.stop();
    match tokio::time::timeout(HARD_STOP_MAX, node).await {
        Ok(result) => result,
        Err(_) => anyhow::bail!("the node did not stop within {} s", HARD_STOP_MAX.as_secs()),
    }
}

async fn either(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// A connection takes one or two descriptors, and the usual soft limit is 1024.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_err() {
        eprintln!("flotilla: cannot raise the limit of open files");
    }
}
