//! The integration tests: the real binary between recording upstreams and hand-written clients.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and a panic says where"
)]

mod browser;
mod faults;
mod harness;
mod hooks;
mod life;
mod limits;
mod protocols;
mod security;
mod tokens;
mod upstreams;
