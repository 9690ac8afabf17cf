//! The process: how it starts and refuses to start, how it ends, and what it says of itself.

mod admin;
mod commands;
mod logs;
mod start;
mod stop;
