//! Client of OCI registries: ours, and any other that speaks the distribution specification.
//!
//! * [`registry`]: push and pull by the specification's words; read this first.
//! * [`transport`]: HTTP/1.1 with kept-alive connections; knows nothing of registries.
//! * [`retry`]: which failures are worth another try, and when.
//! * [`admin`]: the operator API of a Flotilla node.
//! * [`error`]: the one error type.

pub mod admin;
pub mod error;
pub mod registry;
pub mod retry;
pub mod transport;

pub use error::{Error, OciError};
pub use registry::Registry;
