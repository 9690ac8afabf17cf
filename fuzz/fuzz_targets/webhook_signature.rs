//! `cargo +nightly fuzz run webhook_signature`: nothing that is sent to a webhook's location ends in a panic, and
//! nothing is believed that was not signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::config::{
    HmacAlgorithm, HmacEncoding, HmacScheme, KeyForm, Scheme, SignedPart, TimestampPlace,
};
use portcullis::secret::Secret;
use portcullis::time::UnixTime;
use portcullis::webhook::{Incoming, Verified, needs, verify};

#[path = "../harness.rs"]
mod harness;

fuzz_target!(|data: &[u8]| {
    assert_eq!(harness::unsigned(data), 0, "believed without a signature");
    harness::signed(data);
});
