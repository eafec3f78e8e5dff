//! Who asks, and what they may do. This room knows no HTTP and no storage: it turns credentials into a [`Caller`] and a
//! caller's wish into a [`Grant`], which the use cases demand. Read `policy`, then `grant`.

mod access;
mod caller;
mod delay;
mod grant;
mod htpasswd;
mod policy;
pub mod token;

pub use access::{Access, NotVerified, Passwords, Realm, Signer, TOKEN_PATH, TokenFlaw, Tokens, Verify};
pub use caller::Caller;
pub use grant::{Delete, Everything, Grant, Kind, Listing, Pull, Push, Right};
pub use htpasswd::{FileError, Htpasswd};
pub use policy::{Denied, Policy, Rule, Who};
pub use token::Resource;
