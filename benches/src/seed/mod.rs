//! Large registries, made quickly: [`set`] says what is in them, [`metadata`] writes it as this registry keeps it, [`layout`]
//! as registry:2 does.

pub mod layout;
pub mod metadata;
pub mod set;
