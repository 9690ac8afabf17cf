//! Limits on what callers may ask for.

use std::num::NonZeroU32;

use super::Resolver;
use super::value::{size, timeout};
use crate::config::mirror;
use crate::config::problem::{Fault, Spanned, shown};
use crate::config::{Access, Limits, Location, LocationLimits, Rate, RateUnit};

/// Most requests in a unit, and most at once.
const MOST: u32 = 1_000_000;

impl Resolver<'_> {
    pub(super) fn limits(&mut self, section: Option<&Spanned<mirror::Limits>>, trusted_hops: u8) -> Limits {
        let file = section.map(|section| section.value.clone()).unwrap_or_default();
        let default = Limits::default();
        if let Some(entry) = file.connections_per_address.as_ref().filter(|_| trusted_hops > 0) {
            let fault = Fault::new("has no use behind a proxy, from which all connections come");
            self.refuse(
                &entry.place,
                fault.help("leave it out, or set `trusted_hops: 0`; `per_address` counts requests"),
            );
        }
        Limits {
            per_identity: self.value(file.per_identity.as_ref(), rate),
            per_address: self.value(file.per_address.as_ref(), rate),
            connections: self
                .within(file.connections.as_ref(), 1..=10_000_000)
                .unwrap_or(default.connections),
            connections_per_address: self.within(file.connections_per_address.as_ref(), 1..=10_000_000),
            streams: self.within(file.streams.as_ref(), 1..=10_000).unwrap_or(default.streams),
            idle: self.value(file.idle.as_ref(), timeout).unwrap_or(default.idle),
            body: self.value(file.body.as_ref(), timeout).unwrap_or(default.body),
            write: self.value(file.write.as_ref(), timeout).unwrap_or(default.write),
            buffered: self.value(file.buffered.as_ref(), size).unwrap_or(default.buffered),
        }
    }

    pub(super) fn location_limits(
        &mut self,
        section: Option<&Spanned<mirror::LocationLimits>>,
        access: Option<&Access>,
    ) -> LocationLimits {
        let file = section.map(|section| section.value.clone()).unwrap_or_default();
        if let (Some(entry), Some(Access::Public | Access::Webhook(_))) = (&file.per_identity, access) {
            let fault = Fault::new("has no effect here, where nobody is asked who he is");
            self.refuse(&entry.place, fault.help("use `per_address` or `total`, or write `access: google`"));
        }
        LocationLimits {
            per_identity: self.value(file.per_identity.as_ref(), rate),
            per_address: self.value(file.per_address.as_ref(), rate),
            total: self.value(file.total.as_ref(), rate),
        }
    }

    /// A body that could never be held is a mistake, not a busy moment.
    pub(super) fn bodies_fit(
        &mut self,
        section: Option<&Spanned<mirror::Limits>>,
        limits: &Limits,
        locations: &[Location],
    ) {
        let Some(entry) = section.and_then(|section| section.value.buffered.as_ref()) else { return };
        let largest = locations.iter().filter_map(|it| Some(it.message.as_ref()?.max_body)).max();
        if let Some(largest) = largest.filter(|largest| *largest > limits.buffered) {
            let fault = Fault::new(format!("is less than the largest body, of {largest} bytes"));
            self.refuse(&entry.place, fault.help("raise it, or lower the `max_body` of the locations"));
        }
    }
}

/// `N/s`, `N/m` or `N/h`, with `burst M` behind it or not.
fn rate(text: &str) -> Result<Rate, Fault> {
    read_rate(text).ok_or_else(|| {
        let fault = Fault::new(format!("{} is not a rate", shown(text)));
        fault.help(format!(
            "write requests in a second, minute or hour, such as `10/s`, `600/m` or `600/m burst 50`; 1 to {MOST}"
        ))
    })
}

fn read_rate(text: &str) -> Option<Rate> {
    let mut words = text.split_ascii_whitespace();
    let (requests, unit) = words.next()?.split_once('/')?;
    let unit = match unit {
        "s" => RateUnit::Second,
        "m" => RateUnit::Minute,
        "h" => RateUnit::Hour,
        _ => return None,
    };
    let requests = count(requests)?;
    let burst = match (words.next(), words.next(), words.next()) {
        (None, _, _) => requests,
        (Some("burst"), Some(burst), None) => count(burst)?,
        _ => return None,
    };
    Some(Rate { requests, unit, burst })
}

fn count(text: &str) -> Option<NonZeroU32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number: &NonZeroU32| number.get() <= MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_unit_and_may_have_a_burst() {
        let of = |text: &str| rate(text).map(|rate| (rate.to_string(), rate.burst.get()));
        assert_eq!(of("10/s"), Ok(("10/s".to_owned(), 10)));
        assert_eq!(of("600/m burst 50"), Ok(("600/m".to_owned(), 50)));
        assert_eq!(of("1/h  burst 1000000"), Ok(("1/h".to_owned(), 1_000_000)));
        for text in ["", "10", "10/", "/s", "0/s", "+1/s", "10/d", "10/s burst", "10/s burst 0", "1000001/s"]
        {
            assert!(rate(text).is_err(), "{text}");
        }
        for text in ["10/s 5", "10/s burst 5 6", "1.5/s", "-1/s", "10 /s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
