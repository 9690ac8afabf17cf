//! What is not believed, and why.

use super::*;

const SLACK_TIME: &str = "x-slack-request-timestamp";

fn fault(message: &Message) -> WebhookError {
    message.verify().unwrap_err()
}

fn why(message: &Message) -> String {
    fault(message).to_string()
}

/// All with a time of signing, and the second in which they were signed.
fn timed() -> Vec<(Message, u64)> {
    let timed: Vec<_> = messages()
        .into_iter()
        .filter(|message| described(&message.scheme).timestamp.is_some())
        .map(|message| (message.clone(), message.now))
        .collect();
    assert!(timed.len() >= 5);
    timed
}

#[test]
fn a_message_is_good_for_five_minutes_either_way() {
    for (message, signed) in timed() {
        for now in [signed - 300, signed, signed + 300] {
            assert!(message.at(now).verify().is_ok(), "{:?} at {now}", message.scheme);
        }
        let (tolerance, scheme) = (300, &message.scheme);
        let (old, new) = (fault(&message.at(signed + 301)), fault(&message.at(signed - 301)));
        assert_eq!(old, WebhookError::TooOld { age: 301, tolerance }, "{scheme:?}");
        assert_eq!(new, WebhookError::TooNew { ahead: 301, tolerance }, "{scheme:?}");
        assert!(!old.may_be_the_secret() && !new.may_be_the_secret());
        assert_eq!(fault(&message.at(0)), WebhookError::TooNew { ahead: signed, tolerance });
        assert!(matches!(fault(&message.at(u64::MAX)), WebhookError::TooOld { .. }));
    }
}

#[test]
fn messages_without_a_time_are_good_for_ever() {
    for message in [github(), shopify()] {
        assert!(message.at(0).verify().is_ok() && message.at(u64::MAX).verify().is_ok());
    }
}

#[test]
fn only_whole_seconds_are_a_time() {
    let cases = [
        ("abc", "not a number"),
        ("", "not a number"),
        ("-1531420618", "not a number"),
        ("+5", "not a number"),
        ("+1531420618", "not a number"),
        ("1531420618.0", "not a number"),
        (" 1531420618", "not a number"),
        ("1531420618,1531420618", "not a number"),
        ("0x5b478b0a", "not a number"),
        ("\u{661}\u{665}", "not a number"),
        ("1531420618000", "in milliseconds"),
        ("99999999999999", "too large"),
        ("18446744073709551616", "too large"),
        ("0", "signed 1531420618 s ago"),
        ("999999999999", "s ahead"),
    ];
    for (time, expected) in cases {
        let why = why(&slack().with(SLACK_TIME, &[time]));
        assert!(why.contains(expected), "{time:?}: {why}");
        let element = format!("t={time},v1={STRIPE_SIGNATURE}");
        let element = stripe().at(1_531_420_618).with("stripe-signature", &[&element]);
        assert!(element.verify().is_err(), "{time:?}");
    }
    let missing = fault(&slack().with(SLACK_TIME, &[]));
    assert_eq!(missing, WebhookError::Missing(HeaderName::from_static(SLACK_TIME)));
    assert_eq!(
        missing.to_string(),
        "the header x-slack-request-timestamp is missing; is the sender told to sign?"
    );
}

#[test]
fn the_time_is_part_of_what_is_signed() {
    for (message, signed) in timed() {
        let header = match described(&message.scheme).timestamp.as_ref().unwrap() {
            TimestampPlace::Header(header) => header.clone(),
            TimestampPlace::Element(_) => described(&message.scheme).header.clone(),
        };
        let name = message.headers.iter().map(|(name, _)| *name).find(|name| header == *name).unwrap();
        let later = message.header(name).replace(&signed.to_string(), &(signed + 1).to_string());
        assert_eq!(fault(&message.with(name, &[&later])), WebhookError::NoMatch, "{:?}", message.scheme);
        // The same moment, written otherwise.
        let zeros = message.header(name).replace(&signed.to_string(), &format!("0{signed}"));
        assert_eq!(fault(&message.with(name, &[&zeros])), WebhookError::NoMatch, "{:?}", message.scheme);
    }
}

#[test]
fn headers_that_decide_are_there_once() {
    let mut seen = 0;
    for message in messages() {
        for (name, value) in message.headers.clone() {
            let twice = message.with(name, &[&value, &value]).verify();
            if ["x-github-event", "x-shopify-event-id"].contains(&name) {
                assert!(twice.is_ok(), "{name}");
                continue;
            }
            assert_eq!(twice.unwrap_err(), WebhookError::Several(HeaderName::from_static(name)));
            seen += 1;
            let without = message.with(name, &[]);
            match name {
                "x-github-delivery" | "x-shopify-webhook-id" => assert_eq!(without.delivery(), None),
                _ => assert_eq!(fault(&without), WebhookError::Missing(HeaderName::from_static(name))),
            }
        }
    }
    assert!(seen >= 14, "only {seen}");
}

#[test]
fn a_request_that_lacks_what_is_needed_need_not_be_read() {
    for message in messages() {
        let Some(needed) = needs(&message.scheme) else {
            assert_eq!(message.scheme, Scheme::Slack);
            continue;
        };
        let name = message.headers.iter().map(|(name, _)| *name).find(|name| needed == *name).unwrap();
        assert_eq!(fault(&message.with(name, &[])), WebhookError::Missing(needed.clone()));
    }
}

#[test]
fn a_prefix_is_compared_exactly() {
    let (signature, slack) = (SLACK_SIGNATURE, slack());
    for value in ["", "v0", "v0=", "=", "v1=", "V0=", "v00=", " v0=", "v0= ", "v0:"] {
        let changed = slack.with("x-slack-signature", &[&format!("{value}{signature}")]);
        assert!(value == "v0=" || matches!(fault(&changed), WebhookError::Malformed { .. }), "{value:?}");
    }
    // Two in a header that holds one are none.
    let two = slack.with("x-slack-signature", &[&format!("v0={signature},v0={signature}")]);
    assert!(matches!(fault(&two), WebhookError::Malformed { .. }));
    let asymmetric = standard().header("webhook-signature").replace("v1,", "v1a,");
    assert!(
        why(&standard().with("webhook-signature", &[&asymmetric]))
            .contains("no signature of the expected kind")
    );
}

#[test]
fn a_signature_has_the_length_and_the_characters_of_one() {
    let signature = SLACK_SIGNATURE;
    let multibyte = format!("{}\u{e9}", &signature[..62]);
    for bad in [
        "",
        &signature[1..],
        &signature[2..],
        &format!("{signature}00"),
        &signature.replace('a', "g"),
        &multibyte,
    ] {
        let changed = slack().with("x-slack-signature", &[&format!("v0={bad}")]);
        assert!(matches!(fault(&changed), WebhookError::Malformed { .. }), "{bad:?}");
    }
    let upper = slack().with("x-slack-signature", &[&format!("v0={}", signature.to_uppercase())]);
    assert_eq!(upper.delivery().as_deref(), Some(signature), "one delivery, however it is written");

    let name = "x-shopify-hmac-sha256";
    let padded = shopify().header(name);
    assert!(shopify().with(name, &[padded.trim_end_matches('=')]).verify().is_ok());
    for bad in
        [padded.replace('/', "_"), padded.replace("Y=", "Z="), format!("{padded}="), format!("={padded}")]
    {
        assert!(matches!(fault(&shopify().with(name, &[&bad])), WebhookError::Malformed { .. }), "{bad:?}");
    }
}

#[test]
fn one_good_signature_among_others_is_enough() {
    let name = "stripe-signature";
    let (good, bad) = (format!("v1={STRIPE_SIGNATURE}"), format!("v1={}", "00".repeat(32)));
    let old = format!("v0={STRIPE_SIGNATURE}");
    for value in [
        format!("t=1700000000,{bad},{good}"),
        format!("{good},{bad},t=1700000000"),
        format!("t=1700000000,v1=short,{good},{old},scheme"),
        format!("t=1700000000, {good}"),
    ] {
        assert_eq!(stripe().with(name, &[&value]).delivery().as_deref(), Some("evt_1"), "{value}");
    }
    for (value, expected) in [
        (format!("t=1700000000,{bad}"), "no signature matches"),
        (format!("t=1700000000,{old}"), "no signature of the expected kind"),
        ("t=1700000000".to_owned(), "no signature of the expected kind"),
        ("t=1700000000,v1=".to_owned(), "wrong length"),
        (good.clone(), "no time of signing"),
        (format!("t=1700000000,t=1700000000,{good}"), "more than one time of signing"),
        (String::new(), "no time of signing"),
    ] {
        let why = why(&stripe().with(name, &[&value]));
        assert!(why.contains(expected), "{value}: {why}");
    }

    let name = "webhook-signature";
    let good = standard().header(name);
    let zeros = format!("v1,{}=", "A".repeat(43));
    assert!(standard().with(name, &[&format!("v1a,{zeros} {zeros} {good}")]).verify().is_ok());
    assert!(standard().with(name, &[good.trim_end_matches('=')]).verify().is_ok());
}

#[test]
fn the_number_of_signatures_is_bounded() {
    let value = |count: usize| {
        let bad = format!("v1={},", "00".repeat(32)).repeat(count - 2);
        format!("{bad}t=1700000000,v1={STRIPE_SIGNATURE}")
    };
    assert!(stripe().with("stripe-signature", &[&value(32)]).verify().is_ok());
    for value in [value(33), value(5000), ",".repeat(5000)] {
        assert!(why(&stripe().with("stripe-signature", &[&value])).contains("more than 32 elements"));
    }
}

#[test]
fn a_signature_of_another_secret_or_body_does_not_match() {
    for message in messages() {
        let other = if message.scheme == Scheme::StandardWebhooks { "whsec_b3RoZXI=" } else { "other" };
        let error = message.verify_with(&[other]).unwrap_err();
        assert_eq!(error, WebhookError::NoMatch);
        assert!(error.may_be_the_secret());
        let mut longer = message.clone();
        longer.body.push(b'\n');
        assert_eq!(fault(&longer), WebhookError::NoMatch, "{:?}", message.scheme);
    }
}

#[test]
fn both_secrets_are_good_while_they_change() {
    for message in messages() {
        let other = if message.scheme == Scheme::StandardWebhooks { "whsec_b3RoZXI=" } else { "other" };
        for secrets in [[message.secret, other], [other, message.secret], ["", message.secret]] {
            assert!(message.verify_with(&secrets).is_ok(), "{:?}", message.scheme);
        }
        assert_eq!(message.verify_with(&[other, ""]).unwrap_err(), WebhookError::NoMatch);
    }
}

#[test]
fn a_secret_that_is_none_lets_nobody_in() {
    for message in messages() {
        for secrets in [&[][..], &[""], &["", ""]] {
            let error = message.verify_with(secrets).unwrap_err();
            assert_eq!(error, WebhookError::UnusableSecret, "{:?}", message.scheme);
            assert!(error.may_be_the_secret());
        }
    }
    for secret in ["whsec_", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS%", "whsk_MfKQ9r8G", "whsec_whsec_MfKQ"] {
        assert_eq!(standard().verify_with(&[secret]).unwrap_err(), WebhookError::UnusableSecret, "{secret}");
    }
    assert!(
        standard().verify_with(&["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).is_ok(),
        "the prefix may be missing"
    );
    // Stripe's key is the whole text, which another reading would take for Base64.
    assert_eq!(stripe().verify_with(&["test_secret"]).unwrap_err(), WebhookError::NoMatch);
}

#[test]
fn an_id_of_a_delivery_is_short_and_printable() {
    for (message, name) in [(github(), "x-github-delivery"), (shopify(), "x-shopify-webhook-id")] {
        for bad in ["a b", "\u{e9}", &"a".repeat(257)] {
            assert!(why(&message.with(name, &[bad])).contains("an id does not have"), "{bad}");
        }
        assert_eq!(message.with(name, &[&"a".repeat(256)]).delivery(), Some("a".repeat(256)));
        assert_eq!(message.with(name, &[""]).delivery(), None);
    }
}

#[test]
fn a_description_that_signs_too_little_is_refused() {
    let described = |change: fn(&mut HmacScheme)| {
        let mut scheme = hand_written(&Scheme::Slack);
        change(&mut scheme);
        Message { scheme: Scheme::Hmac(scheme.into()), ..slack() }
    };
    let cases: [fn(&mut HmacScheme); 4] = [
        |scheme| scheme.signed.clear(),
        |scheme| drop(scheme.signed.pop()),
        |scheme| scheme.timestamp = None,
        |scheme| scheme.signed = vec![SignedPart::Body],
    ];
    for change in cases {
        let error = fault(&described(change));
        assert!(matches!(error, WebhookError::Contradiction(_)), "{error}");
    }
    assert!(described(|_| ()).verify().is_ok());
}

#[test]
fn errors_hold_nothing_of_the_request_or_the_secret() {
    for message in messages() {
        let header = &described(&message.scheme).header;
        let name = message.headers.iter().map(|(name, _)| *name).find(|name| header == *name).unwrap();
        let mut changed = message.clone();
        changed.body.push(b' ');
        let garbage = message.with(name, &["t=canary,v1=canary v1,canary v0=canary"]);
        let unusable = Message { secret: "", ..message.clone() };
        for error in
            [fault(&changed), fault(&garbage), fault(&unusable), fault(&message.with(name, &["a", "b"]))]
        {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(message.secret) && !shown.contains("canary"), "{shown}");
            assert!(message.headers.iter().all(|(_, value)| !shown.contains(value.as_str())), "{shown}");
        }
    }
}
