//! Operator API bodies (JSON).
