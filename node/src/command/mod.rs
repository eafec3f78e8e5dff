//! What the program does beside running nodes. Each command returns what is to be printed; the program prints it and picks
//! the exit code.

mod check;
mod garbage_collect;

pub use check::check;
pub use garbage_collect::{garbage_collect, report};
