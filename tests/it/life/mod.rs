//! The process: how it starts and refuses to start, how it ends, and what it says of itself.

mod admin;
mod audit;
mod commands;
mod logs;
mod metrics;
mod reload;
mod start;
mod stop;
mod tls;
mod traces;
