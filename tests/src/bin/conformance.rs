//! Runs the conformance suite against any registry: `conformance --registry 127.0.0.1:5000 --version dev`.

use clap::{Parser, ValueEnum};
use flotilla_tests::conformance::{Suite, Version};
use std::process::ExitCode;

/// Checks whether a registry conforms to the OCI distribution specification.
#[derive(Parser)]
struct Arguments {
    /// host:port of the registry, over plain HTTP; several times for several nodes of one cluster.
    #[arg(long, required = true)]
    registry: Vec<String>,
    /// The version of the specification.
    #[arg(long, value_enum, default_value = "dev")]
    version: Text,
    /// The repository to push to; it must not exist.
    #[arg(long, default_value = "conformance/first")]
    repository: String,
    /// A second one.
    #[arg(long, default_value = "conformance/second")]
    other: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Text {
    #[value(name = "1.1")]
    V1_1,
    Dev,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let version = match arguments.version {
        Text::V1_1 => Version::V1_1,
        Text::Dev => Version::Dev,
    };
    let report = Suite::new(arguments.registry, &arguments.repository, &arguments.other, version).run().await;
    println!("{:<32} {:>7} {:>7}", "area", "passed", "failed");
    for (area, passed, failed) in report.areas() {
        println!("{area:<32} {passed:>7} {failed:>7}");
    }
    println!("{:<32} {:>7} {:>7}", "all", report.passed.len(), report.failed.len());
    for (name, why) in &report.failed {
        println!("FAILED {name}: {why}");
    }
    if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
