use super::*;
use crate::time::UnixTime;

fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, http::HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn found<'a>(headers: &'a HeaderMap) -> Result<Presented<'a>, Refusal> {
    Presented::find(headers, "__Host-portcullis")
}

#[test]
fn bearers_are_found_in_any_case_and_nothing_else_is_one() {
    let rows: [(&[u8], Option<&str>); 12] = [
        (b"Bearer abc", Some("abc")),
        (b"bearer abc", Some("abc")),
        (b"BEARER   abc  ", Some("abc")),
        (b"Bearer a b", Some("a b")),
        (b"Bearer", Some("")),
        (b"Bearer ", Some("")),
        (b"Bearer \xff", Some("")),
        (b"Bearerabc", None),
        (b"bearer\tabc", None),
        (b"Basic abc", None),
        (b"Bear", None),
        (b"", None),
    ];
    for (value, expected) in rows {
        let headers = headers(&[("authorization", value)]);
        assert_eq!(found(&headers).unwrap().bearer, expected, "{value:?}");
    }
}

#[test]
fn cookies_of_other_names_are_not_sessions() {
    let headers = headers(&[("cookie", b"a=1; __Host-portcullis=token; __Host-portcullisx=other; b=2")]);
    assert_eq!(found(&headers).unwrap(), Presented { cookie: Some("token"), bearer: None });
}

#[test]
fn several_of_one_kind_are_refused_rather_than_guessed() {
    let rows: [&[(&'static str, &[u8])]; 4] = [
        &[("authorization", b"Bearer a"), ("authorization", b"Bearer a")],
        &[("authorization", b"Basic a"), ("authorization", b"Bearer b")],
        &[("cookie", b"__Host-portcullis=a; __Host-portcullis=b")],
        &[("cookie", b"__Host-portcullis=a"), ("cookie", b"__Host-portcullis=a")],
    ];
    for pairs in rows {
        assert_eq!(found(&headers(pairs)).unwrap_err(), Refusal::AmbiguousCredential, "{pairs:?}");
    }
    let both = headers(&[("cookie", b"__Host-portcullis=a"), ("authorization", b"Bearer b")]);
    assert_eq!(found(&both).unwrap(), Presented { cookie: Some("a"), bearer: Some("b") });
}

fn identity(email: &str, hosted_domain: Option<&str>) -> Identity {
    Identity::new(email, None, hosted_domain, UnixTime(9)).unwrap()
}

fn list(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

#[test]
fn domains_are_compared_whole() {
    let allow = Allow { domains: list(&["corp.com"]), ..Allow::default() };
    assert!(is_allowed(&allow, &identity("u@corp.com", None)));
    assert!(is_allowed(&allow, &identity("U@CORP.com", None)));
    for outsider in
        ["u@exploitcorp.com", "u@sub.corp.com", "u@corpxcom.org", "u@corp.com.evil.org", "corp.com@evil.org"]
    {
        assert!(!is_allowed(&allow, &identity(outsider, Some("corp.com"))), "{outsider}");
    }
}

#[test]
fn workspace_only_asks_for_the_claim_instead_of_the_address() {
    let allow = Allow { domains: list(&["corp.com"]), workspace_only: true, ..Allow::default() };
    assert!(is_allowed(&allow, &identity("u@corp.com", Some("corp.com"))));
    assert!(!is_allowed(&allow, &identity("u@corp.com", None)));
    assert!(!is_allowed(&allow, &identity("u@corp.com", Some("evil.com"))));
}

#[test]
fn service_accounts_pass_by_name_only() {
    let robot = "r@p.iam.gserviceaccount.com";
    let by_domain =
        Allow { domains: list(&["p.iam.gserviceaccount.com"]), emails: list(&[robot]), ..Allow::default() };
    assert!(!is_allowed(&by_domain, &identity(robot, None)));
    let by_name = Allow { service_accounts: list(&[robot]), ..Allow::default() };
    assert!(is_allowed(&by_name, &identity(robot, None)));
    assert!(!is_allowed(&by_name, &identity("q@p.iam.gserviceaccount.com", None)));
}

#[test]
fn single_addresses_pass_and_an_empty_list_admits_nobody() {
    let allow = Allow { emails: list(&["ada@example.com"]), ..Allow::default() };
    assert!(is_allowed(&allow, &identity("Ada@Example.com", None)));
    assert!(!is_allowed(&allow, &identity("bob@example.com", None)));
    assert!(!is_allowed(&Allow::default(), &identity("ada@example.com", Some("example.com"))));
}

#[test]
fn a_permit_says_whether_the_bearer_ends_here() {
    let caller = |source| Caller { identity: Arc::new(identity("a@b.org", None)), source };
    assert!(Permit::new(LocationId(0), Some(caller(Source::Bearer))).consumed_authorization());
    assert!(!Permit::new(LocationId(0), Some(caller(Source::Cookie))).consumed_authorization());
    let public = Permit::new(LocationId(3), None);
    assert!(!public.consumed_authorization());
    assert!(public.identity().is_none());
    assert_eq!(public.location(), LocationId(3));
}
