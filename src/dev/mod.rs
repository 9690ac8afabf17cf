//! What a developer's machine, the tests and the benches use in place of the world outside: a stand-in for
//! Google and an echo upstream.
//!
//! None of this is part of the gateway: the feature `dev` leaves it out of the container image, no
//! configuration can reach it, and it listens on loopback only.

mod command;
pub mod echo;
pub mod google;
mod loopback;
mod page;

pub use command::{DevError, run};
