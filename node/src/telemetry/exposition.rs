//! The text of a scrape, in the two formats that monitoring asks for.

use prometheus_client::{encoding::text, registry::Registry};
use std::fmt;

/// A format of the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, as every scraper and dashboard knows it.
    Plain,
    /// OpenMetrics 1.0, for those who name it.
    OpenMetrics,
}

impl Format {
    /// The one for a scraper with this header `Accept`.
    pub fn for_accept(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            Some(_) | None => Self::Plain,
        }
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All figures as text.
///
/// # Errors
/// If a figure cannot be written.
pub fn page(registry: &Registry, format: Format) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(32 << 10);
    text::encode(&mut text, registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Plain => plain(&text),
    })
}

/// OpenMetrics to the older format: there a counter is called as its sample, and units and the end are not marked.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.rsplit_once(' ')) {
            let total = if kind == "counter" { "_total" } else { "" };
            let kind = if kind == "unknown" { "untyped" } else { kind };
            if let Some(help) = help.take() {
                out.extend(["# HELP ", name, total, " ", help, "\n"]);
            }
            out.extend(["# TYPE ", name, total, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            out.extend([line, "\n"]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::{metrics::counter::Counter, metrics::gauge::Gauge, registry::Unit};

    #[test]
    fn the_format_is_the_one_asked_for() {
        assert_eq!(Format::for_accept(None), Format::Plain);
        assert_eq!(Format::for_accept(Some("text/plain;version=0.0.4;q=0.5,*/*;q=0.1")), Format::Plain);
        let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3";
        assert_eq!(Format::for_accept(Some(prometheus)), Format::OpenMetrics);
    }

    #[test]
    fn both_formats_have_the_same_samples() {
        let mut registry = Registry::default();
        let (counter, gauge) = (Counter::<u64>::default(), Gauge::<i64>::default());
        registry.register("a", "Some events", counter.clone());
        registry.register_with_unit("b", "Some bytes", Unit::Bytes, gauge.clone());
        counter.inc();
        let open = page(&registry, Format::OpenMetrics).unwrap();
        assert!(open.contains("# TYPE a counter\na_total 1\n") && open.ends_with("# EOF\n"), "{open}");
        let expected = "# HELP a_total Some events.\n# TYPE a_total counter\na_total 1\n\
                        # HELP b_bytes Some bytes.\n# TYPE b_bytes gauge\nb_bytes 0\n";
        assert_eq!(page(&registry, Format::Plain).unwrap(), expected);
    }
}
