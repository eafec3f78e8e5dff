use std::sync::Arc;

/// Who sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody said who.
    Anonymous,
    /// A user whose password was verified.
    User(Arc<str>),
}
