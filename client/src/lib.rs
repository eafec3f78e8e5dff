//! Client library for Flotilla and any OCI registry.

pub mod admin;
