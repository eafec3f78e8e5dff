//! Encoding of log commands and records.
