//! Single values: words from a list, durations, sizes, names. Each parser says what is wrong with a text.

use std::time::Duration;

use http::Method;

use crate::config::problem::{Fault, cut, did_you_mean, shown};
use crate::config::{OWN_COOKIES, OwnCookies};

/// Longest duration that is taken; more is a slip, and clocks overflow at some point.
const LONGEST: Duration = Duration::from_hours(24);

/// One of a few words.
pub(super) fn choice<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&str) -> Result<T, Fault> {
    move |text| {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let fault = Fault::new(format!("must be one of {}, not {}", all.join(", "), shown(text)));
        Err(fault.maybe_help(did_you_mean(text, all)))
    }
}

/// A duration of at most a day.
pub(super) fn short_duration(text: &str) -> Result<Duration, Fault> {
    let duration = humantime::parse_duration(text).map_err(|_| {
        let fault = Fault::new(format!("{} is not a duration", shown(text)));
        let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let example = if number { cut(text) } else { "60".to_owned() };
        fault.help(format!("write it with a unit, such as `{example}s`, `500ms` or `5m`"))
    })?;
    if duration > LONGEST {
        return Err(Fault::new(format!("{} is longer than a day", shown(text))));
    }
    Ok(duration)
}

/// A duration of more than nothing and at most a day.
pub(super) fn timeout(text: &str) -> Result<Duration, Fault> {
    match short_duration(text)? {
        Duration::ZERO => Err(Fault::new("must be longer than zero")),
        duration => Ok(duration),
    }
}

/// A duration within limits, which may be longer than a day.
pub(super) fn duration_to(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, Fault> {
    move |text| {
        let duration = match short_duration(text) {
            Ok(duration) => duration,
            Err(fault) => humantime::parse_duration(text).map_err(|_| fault)?,
        };
        if !(least..=most).contains(&duration) {
            let [least, most] = [least, most].map(humantime::format_duration);
            return Err(Fault::new(format!("must be from {least} to {most}, not {}", shown(text))));
        }
        Ok(duration)
    }
}

/// A share of a whole, from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, Fault> {
    let share: f64 = text.parse().map_err(|_| Fault::new(format!("{} is not a number", shown(text))))?;
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(Fault::new(format!("{} is not from 0 to 1", shown(text))))
}

/// A size in bytes: `1048576`, `1MiB`, `1MB`.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let (number, unit) = text.split_at(text.len() - digits.len());
    let factor = match unit.trim() {
        "" | "B" => Some(1),
        "kB" | "KB" => Some(1000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor)).ok_or_else(
        || {
            let fault = Fault::new(format!("{} is not a size", shown(text)));
            fault.help("write bytes such as `1048576`, or a unit: `64KiB`, `10MiB`, `32MB`")
        },
    )
}

/// A host name as it stands in `Host`, without port: lower-case, without the final dot.
pub(super) fn host_name(text: &str) -> Result<String, Fault> {
    let fault = |what: &str| Fault::new(format!("{} {what}", shown(text)));
    if text.contains("://") || text.contains('/') {
        return Err(fault("is a URL, not a host name").help("write only the name, such as `gw.example.com`"));
    }
    if text.contains(':') {
        return Err(fault("has a port").help("write only the name: a location takes it on any port"));
    }
    if text.contains('*') {
        return Err(fault("has a wildcard").help("write one location for each name, or leave `host` out"));
    }
    dns_name(text.strip_suffix('.').unwrap_or(text)).ok_or_else(|| {
        let ascii = text.is_ascii();
        let help = (!ascii).then(|| "write an international name in its `xn--` form".to_owned());
        fault("is not a host name").maybe_help(help)
    })
}

/// The name in lower case, when it is made of labels as RFC 1123 (section 2.1) has them.
pub(super) fn dns_name(text: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (text.len() <= 253 && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

/// The usual methods. Others are passed on too, unless they look like one of these misspelled.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A request method that may be passed on.
pub(super) fn method(text: &str) -> Result<Method, Fault> {
    let upper = text.to_ascii_uppercase();
    if matches!(upper.as_str(), "CONNECT" | "TRACE") {
        return Err(Fault::new(format!("{upper} is never passed on")));
    }
    if upper != text {
        let fault = Fault::new(format!("{} is not written in capitals", shown(text)));
        return Err(fault.help(format!("write `{}`", cut(&upper))));
    }
    let letters = text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_');
    if !METHODS.contains(&text)
        && let Some(help) = did_you_mean(text, METHODS)
    {
        return Err(Fault::new(format!("{} is not a known method", shown(text))).help(help));
    }
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if letters => Ok(method),
        _ => Err(Fault::new(format!("{} is not a method", shown(text)))),
    }
}

/// A scope of OAuth (RFC 6749, section 3.3).
pub(super) fn scope(text: &str) -> Result<String, Fault> {
    if text.contains(' ') {
        return Err(Fault::new(format!("{} is several scopes", shown(text)))
            .help("write them as a list: `[openid, email]`"));
    }
    let allowed = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(Fault::new(format!("{} is not a scope", shown(text))));
    }
    Ok(text.to_owned())
}

/// A cookie name (RFC 6265, section 4.1.1: a token) that is not one of our own.
pub(super) fn cookie_name(text: &str) -> Result<String, Fault> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(Fault::new(format!("{} is not a cookie name", shown(text)))
            .help("use letters, digits, `-` and `_`, such as `__Host-portcullis`"));
    }
    let lower = text.to_ascii_lowercase();
    let bare =
        ["__host-", "__secure-"].iter().find_map(|prefix| lower.strip_prefix(prefix)).unwrap_or(&lower);
    let OwnCookies { attempt, hint, last } = OWN_COOKIES;
    if [attempt, hint, last].iter().any(|own| bare.starts_with(own)) {
        return Err(Fault::new(format!("{} is a name that sign-in uses itself", shown(text)))
            .help("choose another, such as `__Host-portcullis`"));
    }
    Ok(text.to_owned())
}

/// A name that the operator chose for something.
pub(super) fn identifier(what: &'static str) -> impl Fn(&str) -> Result<String, Fault> {
    move |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.is_empty() || !text.bytes().all(allowed) {
            return Err(Fault::new(format!("{} is not a name for {what}", shown(text)))
                .help("use letters, digits, `-` and `_`"));
        }
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(size("10MiB"), Ok(10 << 20));
        assert_eq!(size("32 MB"), Ok(32_000_000));
        assert_eq!(size("0"), Ok(0));
        for text in ["", "MiB", "1.5MiB", "-1", "10mib", "99999999999GiB", "١"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_end_at_a_day() {
        assert_eq!(short_duration("1h 30m"), Ok(Duration::from_mins(90)));
        assert_eq!(short_duration("0s"), Ok(Duration::ZERO));
        for text in ["60", "", "1 fortnight", "25h", "-1s"] {
            assert!(short_duration(text).is_err(), "{text}");
        }
        assert!(timeout("0s").is_err());
    }

    #[test]
    fn host_names_lose_case_and_final_dot() {
        assert_eq!(host_name("GW.Example.com.").unwrap(), "gw.example.com");
        assert_eq!(host_name("localhost").unwrap(), "localhost");
        for text in ["", ".", "a..b", "-a.b", "a_b.c", "a:80", "*.a.b", "https://a", "bücher.example", "a b"]
        {
            assert!(host_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn methods_are_in_capitals_and_never_tunnel() {
        assert_eq!(method("PATCH").unwrap(), Method::PATCH);
        assert_eq!(method("M-SEARCH").unwrap().as_str(), "M-SEARCH");
        for text in ["get", "CONNECT", "trace", "", "GE T", "GET\n"] {
            assert!(method(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn cookie_names_are_tokens_and_not_ours() {
        assert!(cookie_name("ACCESSTOKEN").is_ok());
        assert!(cookie_name("__Secure-gw").is_ok());
        for text in [
            "",
            "a b",
            "a=b",
            "a;b",
            "é",
            "__Host-portcullis-attempt-1",
            "PORTCULLIS-attempt",
            "__HOST-portcullis-hint",
            "__Host-portcullis-last",
        ] {
            assert!(cookie_name(text).is_err(), "{text}");
        }
    }
}
