//! ID tokens that nobody at Google has signed: headers, algorithms, signatures (CVE-2022-29226, and the classes
//! of `alg: none` and of HS256 keyed with a public key).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use super::{ADA, GOOD, INVALID};
use crate::harness::raw::once;
use crate::harness::world::World;

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

async fn fetch(world: &World, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: google\r\nConnection: close\r\n\r\n");
    once(world.google.address(), request).await.text()
}

fn hs256(header: &Value, claims: &Value, key: &[u8]) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[tokio::test]
async fn what_is_no_google_token_is_refused() {
    let world = World::start();
    let mut table = world.table();
    let client = world.client();
    let bad = INVALID.1;
    for value in [
        "Bearer x",
        "Bearer ",
        "Bearer",
        "bearer x",
        "Bearer x y",
        "Bearer  ,,,",
        "Bearer ====",
        "BEARER ya29.",
    ] {
        let call = client.get("/x").header("authorization", value);
        table.refused(value, call, 401, bad).await;
    }
    for value in [
        "bearer\tya29.aaaaaaaaaaaaaaaaaaaaaa",
        "Basic YWRhOmFkYQ==",
        "Bearer,x",
        "Bearerx",
        "Digest x",
        "null",
        "",
    ] {
        let call = client.get("/x").header("authorization", value);
        table.refused(value, call, 401, "unauthenticated").await;
    }
    let good = world.access(ADA);
    for token in [
        format!("{good}\u{e9}"),
        format!("{good}, {good}"),
        format!("{good};a=b"),
        format!("\"{good}\""),
        format!("token={good}"),
        good[..good.len() - 1].to_owned(),
        good.to_uppercase(),
        "a".repeat(16 * 1024),
    ] {
        table.bearer(&token[..8.min(token.len())], &token, INVALID).await;
    }
    table.bearer("good", &good, GOOD).await;
    table.finish().await;
}

#[tokio::test]
async fn only_rs256_counts_whatever_the_header_says() {
    let world = World::start();
    let mut table = world.table();
    let claims = encode(&world.claims(ADA));
    let kid = world.google.id_token_header()["kid"].clone();
    for alg in
        ["none", "None", "NONE", "nOnE", "", "RS256 ", "rs256", "RS384", "PS256", "ES256", "HS256", "EdDSA"]
    {
        let header = encode(&json!({"alg": alg, "kid": kid, "typ": "JWT"}));
        let genuine = world.google.issue_id_token(&world.claims(ADA), None);
        let signature = genuine.rsplit('.').next().unwrap();
        for signature in ["", "AA", signature] {
            table.bearer(&format!("alg {alg:?}"), &format!("{header}.{claims}.{signature}"), INVALID).await;
        }
        // Signed over this very header, so only the name of the algorithm is wrong.
        let signed = world.id_token_headed(|header| header["alg"] = json!(alg));
        table.bearer(&format!("signed, alg {alg:?}"), &signed, INVALID).await;
    }
    for (name, alg) in
        [("null", Value::Null), ("a list", json!(["RS256"])), ("a number", json!(256)), ("true", json!(true))]
    {
        let token = world.id_token_headed(|header| header["alg"] = alg);
        table.bearer(&format!("alg is {name}"), &token, INVALID).await;
    }
    let token = world.id_token_headed(|header| drop(header.as_object_mut().unwrap().remove("alg")));
    table.bearer("no alg", &token, INVALID).await;
    table.bearer("good", &world.id_token(ADA, |_| {}), GOOD).await;
    table.finish().await;
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let world = World::start();
    let mut table = world.table();
    let header = json!({"alg": "HS256", "kid": world.google.id_token_header()["kid"], "typ": "JWT"});
    let claims = world.claims(ADA);
    let set = fetch(&world, "/oauth2/v3/certs").await;
    let parsed: Value = serde_json::from_str(&set).unwrap();
    let certificates: Value = serde_json::from_str(&fetch(&world, "/oauth2/v1/certs").await).unwrap();
    let mut keys: Vec<Vec<u8>> = vec![set.into_bytes()];
    for key in parsed["keys"].as_array().unwrap() {
        keys.push(key.to_string().into_bytes());
        keys.push(key["n"].as_str().unwrap().into());
        keys.push(URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap());
    }
    for pem in certificates.as_object().unwrap().values() {
        let pem = pem.as_str().unwrap();
        keys.push(pem.into());
        keys.push(pem.trim().into());
        let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        keys.push(STANDARD.decode(der).unwrap());
    }
    for key in keys {
        table.bearer("HS256", &hs256(&header, &claims, &key), INVALID).await;
        let lying = json!({"alg": "RS256", "kid": header["kid"], "typ": "JWT"});
        table.bearer("HS256 that says RS256", &hs256(&lying, &claims, &key), INVALID).await;
    }
    table.finish().await;
}

#[tokio::test]
async fn the_shape_and_the_signature_are_exact() {
    let world = World::start();
    let mut table = world.table();
    let good = world.id_token(ADA, |_| {});
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mallory = encode(&world.claims("mallory@other.example"));
    let other = world.id_token("grace@example.com", |_| {});
    let foreign = other.rsplit('.').next().unwrap();
    let mut flipped = signature.to_owned();
    flipped.replace_range(10..11, if &signature[10..11] == "A" { "B" } else { "A" });
    for (name, token) in [
        ("no signature, no dot", format!("{header}.{claims}")),
        ("an empty signature", format!("{header}.{claims}.")),
        ("two dots at the end", format!("{header}.{claims}..")),
        ("a dot after the signature", format!("{good}.")),
        ("a fourth part", format!("{good}.{signature}")),
        ("five parts, as in a JWE", format!("{good}.{signature}.{signature}")),
        ("no payload", format!("{header}..{signature}")),
        ("no header", format!(".{claims}.{signature}")),
        ("other claims", format!("{header}.{mallory}.{signature}")),
        ("somebody else's signature", format!("{header}.{claims}.{foreign}")),
        ("one bit of the signature", format!("{header}.{claims}.{flipped}")),
        ("a shorter signature", format!("{header}.{claims}.{}", &signature[..signature.len() - 4])),
        ("a longer signature", format!("{good}AAAA")),
        ("zeros", format!("{header}.{claims}.{}", "A".repeat(signature.len()))),
        ("padding", format!("{good}==")),
        ("a space before the header", format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode(" {}"))),
        ("a header that is a list", format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode("[]"))),
        ("a payload that is text", world.google.issue_id_token(&json!("ada@example.com"), None)),
        ("a payload that is a list", world.google.issue_id_token(&json!([world.claims(ADA)]), None)),
        ("a payload that is empty", world.google.issue_id_token(&json!({}), None)),
    ] {
        table.bearer(name, &token, INVALID).await;
    }
    for (name, member, value) in [
        ("an unknown key", "kid", json!("0000000000000000000000000000000000000000")),
        ("a key id that is a list", "kid", json!([world.google.id_token_header()["kid"]])),
        ("no key id", "kid", Value::Null),
        ("a path as key id", "kid", json!("../../dev/null")),
        ("an extension that must be understood", "crit", json!(["b64"])),
    ] {
        table.bearer(name, &world.id_token_headed(|header| header[member] = value), INVALID).await;
    }
    // A key, or the address of one, that the token brings along is not looked at.
    let mut jwk = world.id_token_headed(|header| {
        header["jku"] = json!("https://evil.test/keys");
        header["x5u"] = json!("https://evil.test/cert");
        header["kid"] = json!("mine");
    });
    table.bearer("a key from the token's header", &jwk, INVALID).await;
    jwk.clear();
    table.bearer("good", &good, GOOD).await;
    table.finish().await;
}
