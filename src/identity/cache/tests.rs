use super::*;

const NOW: UnixTime = UnixTime(1_700_000_000);

fn cache() -> FactCache {
    FactCache::new(&crate::config::Cache {
        verified: Duration::from_secs(60),
        rejected: Duration::from_secs(10),
        entries: 100,
    })
}

fn digest(token: &str) -> Digest {
    Digest::of(Credential::parse(token).unwrap())
}

fn identity(expires: u64) -> Arc<Identity> {
    Arc::new(Identity::new("ada@example.com", Some("1"), None, UnixTime(expires)).unwrap())
}

fn after(seconds: u64) -> UnixTime {
    UnixTime(NOW.0 + seconds)
}

#[test]
fn a_verified_token_is_believed_for_a_while_but_not_past_its_expiry() {
    let cache = cache();
    let (long, short) = (digest("ya29.long-long-long-long"), digest("ya29.short-short-short"));
    cache.put(long, &Ok(identity(NOW.0 + 3600)), NOW);
    cache.put(short, &Ok(identity(NOW.0 + 20)), NOW);
    assert!(cache.get(&long, after(59)).unwrap().is_ok());
    assert!(cache.get(&long, after(60)).is_none());
    assert!(cache.get(&short, after(19)).unwrap().is_ok());
    assert!(cache.get(&short, after(20)).is_none());
}

#[test]
fn verdicts_are_remembered_and_failures_are_not() {
    let cache = cache();
    let token = digest("ya29.token-token-token");
    cache.put(token, &Err(VerifyError::Unavailable("down".to_owned())), NOW);
    cache.put(token, &Err(VerifyError::Throttled), NOW);
    assert!(cache.get(&token, NOW).is_none());
    cache.put(token, &Err(VerifyError::Expired), NOW);
    assert_eq!(cache.get(&token, after(9)).unwrap().unwrap_err(), VerifyError::Expired);
    assert!(cache.get(&token, after(10)).is_none());
}

#[test]
fn the_kind_is_part_of_the_name() {
    // The same characters as an access token and, with a decodable header, as an ID token.
    let id = Credential::parse("eyJhIjoxfQ.eyJiIjoxfQ.c2lnbmF0dXJl").unwrap();
    let access = Credential::parse("ya29.eyJiIjoxfQ.c2lnbmF0dXJl").unwrap();
    assert_eq!((id.kind(), access.kind()), (Kind::IdToken, Kind::AccessToken));
    let mut context = Context::new(&SHA256);
    context.update(b"access:");
    context.update(id.token().as_bytes());
    assert_ne!(Digest::of(id).0, context.finish().as_ref());
}

#[test]
fn an_entry_that_only_shares_the_hash_is_a_miss() {
    let cache = cache();
    let (ours, theirs) = (digest("ya29.ours-ours-ours-ours"), digest("ya29.theirs-theirs-theirs"));
    // What the cache would hold at the place of `ours` if both hashed alike.
    let entry = Entry { digest: theirs, until: after(60), value: identity(NOW.0 + 3600) };
    cache.verified.put(&ours, entry);
    assert!(cache.get(&ours, NOW).is_none());
}

#[test]
fn a_token_that_was_signed_out_stays_out() {
    let cache = cache();
    let token = digest("ya29.token-token-token");
    cache.put(token, &Ok(identity(NOW.0 + 3600)), NOW);
    cache.end(token, after(3600), NOW);
    assert_eq!(cache.get(&token, NOW).unwrap().unwrap_err(), VerifyError::SignedOut);
    // A check that was under way when the sign-out came does not undo it.
    cache.put(token, &Ok(identity(NOW.0 + 3600)), NOW);
    assert_eq!(cache.get(&token, after(3599)).unwrap().unwrap_err(), VerifyError::SignedOut);
}

#[test]
fn garbage_does_not_push_out_good_entries() {
    let cache = cache();
    let good = digest("ya29.good-good-good-good");
    cache.put(good, &Ok(identity(NOW.0 + 3600)), NOW);
    for n in 0..100_000 {
        cache.put(digest(&format!("ya29.garbage-garbage-{n}")), &Err(VerifyError::Expired), NOW);
    }
    assert!(cache.get(&good, NOW).unwrap().is_ok());
}

#[test]
fn sign_outs_are_kept_until_the_tokens_end_however_many_there_are() {
    let cache = cache();
    for n in 0..10_000 {
        cache.end(digest(&format!("ya29.signed-out-token-{n}")), after(3600), NOW);
    }
    for n in 0..10_000 {
        assert!(cache.has_ended(&digest(&format!("ya29.signed-out-token-{n}")), after(3599)), "{n}");
    }
    cache.end(digest("ya29.one-more-signed-out"), after(7200), after(3600));
    assert_eq!(cache.lock_ended().len(), 1, "those that would have ended are forgotten");
}
