//! What the gateway does when others fail: Google, the upstream, the caller.

mod front_door;
mod google;
mod metadata;
mod requests;
mod upstream;
