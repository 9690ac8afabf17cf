//! ID tokens that Google has signed, but for somebody else, at another time, or about nobody in particular
//! (GHSA-wcvh-g65p-v576, CVE-2026-40574, GHSA-7cc2-r658-7xpf, and the class of foreign service accounts).

use portcullis::dev::google::{CLIENT_ID, GATEWAY};
use portcullis::time::UnixTime;
use serde_json::{Value, json};

use super::{ADA, FORBIDDEN, GOOD, INVALID, ROBOT};
use crate::harness::world::{PARTNER, PUBLIC_URL, World};

/// What a claim is set to; taken away when there is nothing.
type Row = (&'static str, Option<Value>, (u16, &'static str));

async fn judge(world: &World, who: &str, rows: Vec<Row>) {
    let mut table = world.table();
    for (claim, value, expect) in rows {
        let name =
            format!("{claim}: {}", value.as_ref().map_or_else(|| "absent".to_owned(), Value::to_string));
        let token = world.id_token(who, |claims| match value {
            Some(value) => claims[claim] = value,
            None => drop(claims.as_object_mut().unwrap().remove(claim)),
        });
        table.bearer(&name, &token, expect).await;
    }
    table.finish().await;
}

#[tokio::test]
async fn issuer_and_audience_are_compared_whole() {
    let world = World::start();
    let mut rows: Vec<Row> = [
        ("https://accounts.google.com", GOOD),
        ("accounts.google.com", GOOD),
        ("https://accounts.google.com/", INVALID),
        ("http://accounts.google.com", INVALID),
        ("https://accounts.google.com.evil.test", INVALID),
        ("https://evil.test/https://accounts.google.com", INVALID),
        ("https://ACCOUNTS.google.com", INVALID),
        ("https://securetoken.google.com/example", INVALID),
        ("", INVALID),
    ]
    .map(|(issuer, expect)| ("iss", Some(json!(issuer)), expect))
    .into();
    rows.extend([
        ("iss", None, INVALID),
        ("iss", Some(json!(["https://accounts.google.com"])), INVALID),
        ("aud", Some(json!("9999-other.apps.googleusercontent.com")), INVALID),
        ("aud", Some(json!(PUBLIC_URL)), INVALID),
        ("aud", Some(json!([CLIENT_ID])), INVALID),
        ("aud", Some(json!([CLIENT_ID, "9999-other.apps.googleusercontent.com"])), INVALID),
        ("aud", Some(json!(format!("{CLIENT_ID} "))), INVALID),
        ("aud", Some(json!(CLIENT_ID.to_uppercase())), INVALID),
        ("aud", Some(json!("")), INVALID),
        ("aud", Some(Value::Null), INVALID),
        ("aud", None, INVALID),
        ("aud", Some(json!(PARTNER)), GOOD),
        ("azp", Some(json!("9999-other.apps.googleusercontent.com")), INVALID),
        ("azp", Some(json!([CLIENT_ID])), INVALID),
        ("azp", Some(Value::Null), INVALID),
        ("azp", Some(json!("")), INVALID),
        ("azp", Some(json!(PARTNER)), GOOD),
        ("azp", None, GOOD),
    ]);
    judge(&world, ADA, rows).await;
}

#[tokio::test]
async fn times_are_there_and_make_sense() {
    let world = World::start();
    let now = UnixTime::now().0;
    let rows = vec![
        ("exp", None, INVALID),
        ("exp", Some(json!(now - 1)), INVALID),
        ("exp", Some(json!(0)), INVALID),
        ("exp", Some(json!(-1)), INVALID),
        ("exp", Some(json!(format!("{}", now - 1))), INVALID),
        ("exp", Some(json!("never")), INVALID),
        ("exp", Some(json!("")), INVALID),
        ("exp", Some(json!(now as f64 + 600.5)), INVALID),
        ("exp", Some(json!(1e30)), INVALID),
        ("exp", Some(json!([now + 600])), INVALID),
        ("exp", Some(Value::Null), INVALID),
        ("exp", Some(json!(true)), INVALID),
        ("exp", Some(json!(now + 90_000)), INVALID),
        ("exp", Some(json!(u64::MAX)), INVALID),
        ("exp", Some(json!(now + 600)), GOOD),
        ("iat", None, INVALID),
        ("iat", Some(json!(now + 3000)), INVALID),
        ("iat", Some(json!(now - 90_000)), INVALID),
        ("iat", Some(json!("yesterday")), INVALID),
        ("iat", Some(json!(now - 60)), GOOD),
        ("nbf", Some(json!(now + 3000)), INVALID),
        ("nbf", Some(json!("soon")), INVALID),
        ("nbf", Some(Value::Null), INVALID),
        ("nbf", Some(json!(now - 60)), GOOD),
    ];
    judge(&world, ADA, rows).await;
}

/// The address is read in one way only, and compared whole.
pub(super) const ADDRESSES: &[(&str, (u16, &str))] = &[
    ("attacker@evil.test@example.com", INVALID),
    ("\"ada@example.com\"@evil.test", INVALID),
    ("\"a b\"@example.com", INVALID),
    ("ada@example.com\0@evil.test", INVALID),
    ("ada@evil.test\0@example.com", INVALID),
    ("ada\0@example.com", INVALID),
    ("@example.com", INVALID),
    ("ada@", INVALID),
    ("ada", INVALID),
    ("", INVALID),
    ("@", INVALID),
    (" ada@example.com", INVALID),
    ("ada@example.com ", INVALID),
    ("ada@example.com\r\nX-Evil: 1", INVALID),
    ("ada@example.com\n", INVALID),
    ("a da@example.com", INVALID),
    ("ada@example.com,eve@evil.test", INVALID),
    ("eve@evil.test,ada@example.com", INVALID),
    ("Ada <ada@example.com>", INVALID),
    ("ada@[example.com]", INVALID),
    ("ada@example.com.", INVALID),
    ("ada@.example.com", INVALID),
    ("ada@example..com", INVALID),
    ("ada@ex\u{430}mple.com", INVALID),
    ("ada@example\u{3002}com", INVALID),
    ("\u{ff41}da@example.com", INVALID),
    ("ada(comment)@example.com", INVALID),
    ("ada@example.com(comment)", INVALID),
    ("ada@exampleXcom", INVALID),
    ("ada%example.com@evil.test", FORBIDDEN),
    ("example.com@evil.test", FORBIDDEN),
    ("ada@exampleXcom.test", FORBIDDEN),
    ("ada@exploitexample.com", FORBIDDEN),
    ("ada@sub.example.com", FORBIDDEN),
    ("ada@example.com.evil.test", FORBIDDEN),
    ("ada@example.co", FORBIDDEN),
    ("ada@example.comm", FORBIDDEN),
    ("ada@xample.com", FORBIDDEN),
    ("ADA@EXAMPLE.COM", GOOD),
    ("ada+x@example.com", GOOD),
];

#[tokio::test]
async fn addresses_are_read_in_one_way_only() {
    let world = World::start();
    let mut rows: Vec<Row> =
        ADDRESSES.iter().map(|(email, expect)| ("email", Some(json!(email)), *expect)).collect();
    rows.push(("email", None, INVALID));
    rows.push(("email", Some(json!([ADA])), INVALID));
    rows.push(("email", Some(json!({"value": ADA})), INVALID));
    judge(&world, ADA, rows).await;
}

/// JWTs carry a boolean, tokeninfo a string; nothing else is read as yes.
pub(super) fn verified_values() -> Vec<(Option<Value>, (u16, &'static str))> {
    let mut values = vec![(Some(json!(true)), GOOD), (Some(json!("true")), GOOD), (None, INVALID)];
    for bad in [
        json!(false),
        json!("false"),
        json!("TRUE"),
        json!("True"),
        json!(1),
        json!("1"),
        json!("yes"),
        json!(""),
    ] {
        values.push((Some(bad), INVALID));
    }
    for bad in [Value::Null, json!([true]), json!({}), json!(" true"), json!(0)] {
        values.push((Some(bad), INVALID));
    }
    values
}

#[tokio::test]
async fn the_address_has_to_be_verified() {
    let world = World::start();
    let rows = verified_values().into_iter().map(|(value, expect)| ("email_verified", value, expect));
    judge(&world, ADA, rows.collect()).await;
}

#[tokio::test]
async fn service_accounts_pass_by_name_and_for_our_url_only() {
    let world = World::start();
    let foreign = "robot@evil-project.iam.gserviceaccount.com";
    let compute = "123456789012-compute@developer.gserviceaccount.com";
    let rows = vec![
        ("aud", Some(json!(PUBLIC_URL)), GOOD),
        ("aud", Some(json!(format!("{PUBLIC_URL}/"))), INVALID),
        ("aud", Some(json!(PUBLIC_URL.replace("https", "http"))), INVALID),
        ("aud", Some(json!(format!("{PUBLIC_URL}.evil.test"))), INVALID),
        ("aud", Some(json!("https://other.example.test")), INVALID),
        ("aud", Some(json!(CLIENT_ID)), INVALID),
        ("aud", Some(json!([PUBLIC_URL])), INVALID),
        ("aud", None, INVALID),
        ("email", Some(json!(GATEWAY)), FORBIDDEN),
        ("email", Some(json!(foreign)), FORBIDDEN),
        ("email", Some(json!(compute)), FORBIDDEN),
        ("email", Some(json!("x@gserviceaccount.com")), FORBIDDEN),
        ("email", Some(json!(format!("x{ROBOT}"))), FORBIDDEN),
        ("email", Some(json!(ROBOT.to_uppercase())), GOOD),
        // Not a service account any more, so it would have to come from one of our clients.
        ("email", Some(json!(format!("{ROBOT}.evil.test"))), INVALID),
        ("email", Some(json!(ADA)), INVALID),
        ("email_verified", Some(json!(false)), INVALID),
        ("email", None, INVALID),
    ];
    judge(&world, ROBOT, rows).await;
}
