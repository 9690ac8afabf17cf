//! Tokens that prove nothing, tokens that prove less than is asked for, and what is remembered of them.
//!
//! Rows are named after the advisory that they repeat, or say what is wrong with the token.

mod access;
mod caching;
mod floods;
mod forged;
mod identity;
mod keys;
mod precedence;
mod rules;

/// The two ways in which a credential is refused, and being let in.
const INVALID: (u16, &str) = (401, "invalid_credential");
const FORBIDDEN: (u16, &str) = (403, "forbidden");
const UNAVAILABLE: (u16, &str) = (503, "provider_unavailable");
const GOOD: (u16, &str) = (200, "");

/// Somebody who may pass, and a service account that is on the list.
const ADA: &str = "ada@example.com";
const ROBOT: &str = portcullis::dev::google::ROBOT;
