//! Logs, spans and metrics of the process. Knows the section `log` and nothing of other rooms; they use `tracing` and
//! register with [`metrics::registry`]. [`exposition`] writes what they counted.

mod append;
pub mod exposition;
mod fields;
pub mod metrics;
mod tally;
mod writer;

pub use append::AppendFile;
pub use tally::{Counts, Tally};
pub use writer::LogWriter;

use crate::config::{Formatter, Log};
use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Libraries that say at `info` what only their authors want to know.
const QUIET: &str = "openraft=warn,raft_log=warn,h2=warn,hyper=warn,hyper_util=warn,tonic=warn,tower=warn,rustls=warn,\
                     aws_config=warn,aws_smithy_runtime=warn,aws_runtime=warn,aws_sdk_s3=warn,opentelemetry=warn,\
                     opentelemetry_sdk=warn,opentelemetry-otlp=warn";
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Flushes logs and spans when dropped; keep it until the process ends. Drop it outside of asynchronous code: it blocks
/// for at most a few seconds.
pub struct Telemetry {
    writer: LogWriter,
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Log lines dropped because stderr was not read.
    pub fn dropped_lines(&self) -> u64 {
        self.writer.dropped()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces {
            // An unreachable collector must not keep the process; there is nobody left to tell.
            let _ = traces.shutdown_with_timeout(FLUSH_MAX);
        }
        self.writer.flush(FLUSH_MAX);
    }
}

/// Installs the process's subscriber: log lines to stderr, as registry:2; spans by OTLP if `export` (its endpoint and
/// headers come from the usual `OTEL_*` variables, which the exporter reads by itself). Call it inside the runtime that
/// lives as long as the process.
///
/// # Errors
/// If a subscriber is installed already or the exporter's variables make no sense.
pub fn init(log: &Log, node: &str, export: bool) -> anyhow::Result<Telemetry> {
    let writer = LogWriter::start(std::io::stderr()).context("cannot start the log thread")?;
    let quiet = if matches!(log.level.as_str(), "error" | "trace") { String::new() } else { format!(",{QUIET}") };
    let filter = EnvFilter::try_new(format!("{}{quiet}", log.level)).context("log.level")?;
    let lines = tracing_subscriber::fmt::layer().with_writer(fields::Labelled::new(writer.clone(), log));
    let lines = match log.formatter {
        Formatter::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        Formatter::Text => lines.with_ansi(false).boxed(),
    };
    let traces = if export { Some(provider(node)?) } else { None };
    let spans = traces.as_ref().map(|traces| tracing_opentelemetry::layer().with_tracer(traces.tracer("flotilla")));
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(spans)
        .try_init()
        .context("telemetry is installed already")?;
    Ok(Telemetry { writer, traces })
}

fn provider(node: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_tonic().build().context("cannot export spans by OTLP")?;
    let name = opentelemetry::KeyValue::new("service.instance.id", node.to_owned());
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("flotilla").with_attribute(name).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
