//! What holds for any message, secret and garbage.

use proptest::collection::vec;
use proptest::prelude::*;
use ring::digest::{SHA256, digest};

use super::*;

/// HMAC as RFC 2104 writes it down, for keys of any length; not the implementation that is tested.
fn reference(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = if key.len() > 64 { digest(&SHA256, key).as_ref().to_vec() } else { key.to_vec() };
    block.resize(64, 0);
    let padded = |pad: u8| block.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>();
    let inner = digest(&SHA256, &[&padded(0x36), message].concat());
    digest(&SHA256, &[&padded(0x5c), inner.as_ref()].concat()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn verify_slack(secret: &str, time: &[u8], signature: &[u8], body: &[u8]) -> Result<Verified, WebhookError> {
    let mut headers = HeaderMap::new();
    for (name, value) in [("x-slack-request-timestamp", time), ("x-slack-signature", signature)] {
        // What cannot stand in a header never gets this far.
        let value = HeaderValue::from_bytes(value).map_err(|_| WebhookError::NoMatch)?;
        headers.insert(name, value);
    }
    let now = UnixTime(1_700_000_000);
    verify(&Scheme::Slack, &[&Secret::new(secret)], &Incoming { headers: &headers, body }, now)
}

fn verify_github(secret: &str, signature: &str, body: &[u8]) -> Result<Verified, WebhookError> {
    let mut headers = HeaderMap::new();
    headers.insert("x-hub-signature-256", HeaderValue::from_str(signature).unwrap());
    verify(&Scheme::Github, &[&Secret::new(secret)], &Incoming { headers: &headers, body }, UnixTime(0))
}

proptest! {
    #[test]
    fn a_good_signature_is_always_believed(secret in ".{1,100}", body in vec(any::<u8>(), 0..3000), ago in 0_u64..=600) {
        let signature = format!("sha256={}", hex(&reference(secret.as_bytes(), &body)));
        prop_assert!(verify_github(&secret, &signature, &body).is_ok());

        let time = (1_700_000_300 - ago).to_string();
        let signed = [b"v0:", time.as_bytes(), b":", &body].concat();
        let signature = format!("v0={}", hex(&reference(secret.as_bytes(), &signed)));
        prop_assert!(verify_slack(&secret, time.as_bytes(), signature.as_bytes(), &body).is_ok());
    }

    /// Every single bit of body, signature and time counts, except the one that makes a hexadecimal letter large.
    #[test]
    fn no_bit_may_be_another(body in vec(any::<u8>(), 1..40), secret in "[ -~]{1,40}") {
        let time = b"1700000000".to_vec();
        let signed = [b"v0:", &time[..], b":", &body].concat();
        let signature = format!("v0={}", hex(&reference(secret.as_bytes(), &signed))).into_bytes();
        let flip = |bytes: &[u8], bit: usize| {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            changed
        };
        for bit in 0..body.len() * 8 {
            prop_assert!(verify_slack(&secret, &time, &signature, &flip(&body, bit)).is_err());
        }
        for bit in 0..time.len() * 8 {
            prop_assert!(verify_slack(&secret, &flip(&time, bit), &signature, &body).is_err());
        }
        for bit in 0..signature.len() * 8 {
            let changed = flip(&signature, bit);
            let same = changed[..3] == signature[..3] && changed.eq_ignore_ascii_case(&signature);
            prop_assert_eq!(verify_slack(&secret, &time, &changed, &body).is_ok(), same);
        }
    }

    #[test]
    fn no_bytes_end_in_a_panic_or_are_believed(data in vec(any::<u8>(), 0..400)) {
        prop_assert_eq!(harness::unsigned(&data), 0);
    }

    /// Garbage that looks like what senders send gets further.
    #[test]
    fn nothing_that_looks_like_a_signature_is_believed(
        signature in "((v0|v1|sha256|t|s)[=,]([0-9a-f]{64}|[A-Za-z0-9+/]{43}=|[0-9]{10})[ ,;]?){1,4}",
        time in "17000000[0-9]{2}|[ -~]{0,20}",
        id in "[ -~]{0,20}",
        body in "[ -~]{0,60}",
    ) {
        let data = format!("{signature}\n{time}\n{id}\n\n{body}");
        prop_assert_eq!(harness::unsigned(data.as_bytes()), 0);
    }

    #[test]
    fn no_signed_body_ends_in_a_panic(
        bytes in vec(any::<u8>(), 0..200),
        text in r#"(\{"(type|event|id)":"(url_verification|event_callback|endpoint\.url_validation|evt_1)"(,"(challenge|event_id|payload)":("[ -~]{0,9}"|[0-9\[\]{}]{0,6}|\{"plainToken":"[a-z:]{0,5}"\}))?\})"#,
    ) {
        for body in [&bytes[..], text.as_bytes()] {
            prop_assert!(harness::signed(body) <= 2, "Stripe has nothing to refuse");
        }
    }
}

/// The harness is worth something only if it would notice.
#[test]
fn the_harness_sees_what_is_signed() {
    assert_eq!(harness::signed(b"{}"), 0);
    assert_eq!(harness::signed(br#"{"type":"url_verification"}"#), 1);
    assert_eq!(harness::signed(br#"{"event":"endpoint.url_validation"}"#), 1);
    let signature = hex(&reference(b"c2VjcmV0IG9mIHRoZSBmdXp6IHRhcmdldA==", b"body"));
    assert_eq!(harness::unsigned(format!("sha256={signature}\n\n\n\nbody").as_bytes()), 1);
}
