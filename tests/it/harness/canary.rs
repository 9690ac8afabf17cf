//! Values that must never turn up where they do not belong: logs, metrics, error texts, URLs.
//!
//! They are new in every process, so that no list of known strings can hide them, and are used by the tests
//! as real tokens, cookies, codes and secrets.

use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The part that all of them begin with after their prefix. A log that cuts values short still shows it.
static MARK: LazyLock<String> = LazyLock::new(|| {
    let random = RandomState::new();
    format!("canary-{:016x}", random.hash_one("mark"))
});

fn value(prefix: &str, kind: &str) -> String {
    let random = RandomState::new().hash_one(kind);
    format!("{prefix}{}-{kind}-{random:016x}", *MARK)
}

/// An access token, as Google issues them. Different for every name, the same for the same name.
pub(crate) fn token(name: &str) -> String {
    format!("{}-{name}", *TOKEN)
}

static TOKEN: LazyLock<String> = LazyLock::new(|| value("ya29.", "token"));
static COOKIE: LazyLock<String> = LazyLock::new(|| value("", "cookie"));
static CODE: LazyLock<String> = LazyLock::new(|| value("4/", "code"));
static SECRET: LazyLock<String> = LazyLock::new(|| value("", "secret"));

/// The value of a session cookie.
pub(crate) fn cookie() -> &'static str {
    &COOKIE
}

/// An authorisation code.
pub(crate) fn code() -> &'static str {
    &CODE
}

/// A signing secret.
pub(crate) fn secret() -> &'static str {
    &SECRET
}

/// The mark in every form in which it might leak: plain, and inside base64 at each of the three alignments.
fn forms() -> Vec<String> {
    let mut forms = vec![MARK.clone()];
    for skip in 0..3 {
        // Only whole groups of three bytes encode the same whatever stands around them.
        let inner = &MARK.as_bytes()[skip..];
        let whole = &inner[..inner.len() / 3 * 3];
        forms.push(STANDARD_NO_PAD.encode(whole));
    }
    forms
}

/// The secret ends of tokens that somebody else made.
static PLANTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Makes a canary of a token that has no mark: its last letters, which nobody can guess.
pub(crate) fn plant(token: &str) {
    let end = token.get(token.len().saturating_sub(24)..).unwrap_or(token);
    PLANTED.lock().unwrap().push(end.to_owned());
}

/// Whether a text holds a canary in any form.
pub(crate) fn found_in(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains(&*MARK)
        || forms().iter().any(|form| text.contains(form.as_str()))
        || PLANTED.lock().unwrap().iter().any(|end| text.contains(end.as_str()))
}

/// Fails when a text holds a canary. The message shows the surroundings.
pub(crate) fn assert_clean(what: &str, text: &str) {
    let leak = text.lines().find(|line| found_in(line));
    assert!(leak.is_none(), "{what} holds a canary: {}", leak.unwrap_or_default());
}

#[test]
fn canaries_are_found_in_every_form() {
    for plain in [token("ada"), cookie().to_owned(), code().to_owned(), secret().to_owned()] {
        assert!(found_in(&format!("level=info token={plain}")));
        assert!(found_in(&plain.to_ascii_uppercase()));
        assert!(found_in(plain[..plain.len() - 6].trim()), "a cut value counts as well");
        for padding in ["", "a", "ab", "abc"] {
            assert!(found_in(&STANDARD_NO_PAD.encode(format!("{padding}{plain}"))), "{padding}");
        }
    }
    let foreign = "ya29.a-token-of-somebody-else-without-a-mark";
    assert!(!found_in(foreign));
    plant(foreign);
    assert!(found_in(&format!("token={foreign};")));
    assert!(!found_in("listening on 127.0.0.1:8080, nothing about a canary-0000"));
    assert_eq!(token("ada"), token("ada"));
    assert_ne!(token("ada"), token("bob"));
}
